"""SIGUSR1 while a command still reads and plans: exit code 75, run again."""

import signal
import subprocess
import sys
import time

SLEEPS = "from pathlib import Path\nimport time\nPath('there').touch()\ntime.sleep(600)\n"


def test_a_job_that_is_preempted_before_its_first_step_is_one_to_run_again(tmp_path):
    (tmp_path / "slow.py").write_text(SLEEPS)
    words = [sys.executable, "-m", "ltbench", "run", "quick", "--plugin", "slow.py"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "there").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGUSR1)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 75, said
    assert "Traceback" not in said

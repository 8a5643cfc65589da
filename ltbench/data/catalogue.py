"""What is known of the field's datasets that come as lists of files: counts, hashes, archives. Imports no torch.

Counts and hashes were recounted on the lists that their authors published; a hash marked likely was not, so that a
file which differs from it is only remarked upon.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .spec import expanded

GROUPS = (100, 20)  # many > 100 >= medium >= 20 > few, in training images, as all three papers have it


@dataclass(frozen=True)
class ListFacts:
    """What a list file must hold."""

    name: str  # as its authors call it; gzipped, with .gz behind it
    rows: int
    classes: int  # with at least one row
    most: int  # rows of the largest class
    fewest: int  # rows of the smallest class that has any
    sha256: str = ""
    likely: bool = False  # the hash is likely the official file's, not proven
    counts_sha256: str = ""  # of the rows per class, int32 little endian, in class order
    also: str = ""  # another name that it goes by

    @property
    def names(self) -> tuple[str, ...]:
        """What the file may be called."""
        return (self.name, self.also) if self.also else (self.name,)


class Archive(NamedTuple):
    """A file to get, and what to do with it."""

    name: str
    md5: str
    unpack: str  # how, within the root of the images


@dataclass(frozen=True)
class Layout:
    """One way in which the images of a dataset lie below their root, and the lists that name them so."""

    folders: tuple[str, ...]  # first parts of the lists' paths
    train: ListFacts
    test: ListFacts
    archives: tuple[Archive, ...]
    val: ListFacts | None = None

    @property
    def parts(self) -> dict[str, ListFacts]:
        """The lists by part: train, val where there is one, test."""
        found = {"train": self.train, "val": self.val, "test": self.test}
        return {part: facts for part, facts in found.items() if facts}


@dataclass(frozen=True)
class Facts:
    """A dataset of the field."""

    name: str
    title: str
    classes: int
    groups: tuple[int, int, int]  # classes that are many, medium, few by GROUPS
    page: str  # where the images are to be had
    lists_page: str  # where the lists are to be had
    layouts: tuple[Layout, ...]
    mean: tuple[float, float, float]  # of each channel, of pixel values from 0 to 1
    std: tuple[float, float, float]
    shifted: dict[str, ListFacts] = field(default_factory=dict)  # name, as in "forward10", -> a test list

    def layout(self, root: Path) -> Layout:
        """The layout that the tree below root follows: the first one that has a folder there; else the first."""
        there = (layout for layout in self.layouts if any((root / part).is_dir() for part in layout.folders))
        return next(there, self.layouts[0])


def folders(name: str, data: Path, root: str | Path | None = None) -> tuple[Path, tuple[Path, ...]]:
    """(the root of a dataset's images, the folders in which its lists are looked for, one after the other).

    data: the data folder. root: where the images lie, if given; relative to the data folder, which it is below by its
    name otherwise.
    """
    images = data / (expanded(root, "data.root") if root else name)
    return images, (images, images / "lists", data / "lists", data)


def _shifted(title: str, classes: int, most: int, table: str) -> dict[str, ListFacts]:
    """The field's shifted test lists of a dataset. table: name, rows, classes that are missing, fewest, sha256."""
    found = {}
    for line in table.strip().splitlines():
        name, rows, missing, fewest, sha256 = line.split()
        found[name] = ListFacts(
            f"sade_{title}_{name}.txt", int(rows), classes - int(missing), most, int(fewest), sha256,
            also=f"{title}_{name}.txt",
        )  # fmt: skip
    return found


_IMAGENET_NORM = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_BALANCING = "https://github.com/facebookresearch/classifier-balancing"

FACTS: dict[str, Facts] = {
    "imagenet_lt": Facts(
        name="imagenet_lt",
        title="ImageNet-LT",
        classes=1000,
        groups=(385, 479, 136),
        page="https://image-net.org/download-images.php (ILSVRC2012; asks for an account)",
        lists_page=_BALANCING,
        mean=_IMAGENET_NORM[0],
        std=_IMAGENET_NORM[1],
        layouts=(
            Layout(
                folders=("train", "val"),
                train=ListFacts(
                    "ImageNet_LT_train.txt", 115_846, 1000, 1280, 5,
                    "efdbdad4f050237c310b2f354cf95a8b1d7c8d57a63c4ea4bb6bf2bcb012f37f", likely=True,
                    counts_sha256="5005e91bab4c762e914bc886883d69d3688576ba116cd833524822adb30c5f8a",
                ),
                val=ListFacts(
                    "ImageNet_LT_val.txt", 20_000, 1000, 20, 20,
                    "9af7ba688acf9532ff5845a8fb14a1e97fdc4c51ac48bc72c08ea9c3f7ff142e",
                ),
                test=ListFacts(
                    "ImageNet_LT_test.txt", 50_000, 1000, 50, 50,
                    "d1590191cf8a71fada7b1aaedaa2d139a2aea93ff2f1b755319d0bd8dbaa55d5",
                ),
                archives=(
                    Archive(
                        "ILSVRC2012_img_train.tar", "1d675b47d978889d74fa0da5fadfb00e",
                        "in train/, then each n*.tar in it into a folder of its name: train/n01440764/*.JPEG",
                    ),
                    Archive(
                        "ILSVRC2012_img_val.tar", "29b22e2961454d5413ddabcf34fc5622",
                        "in val/; then `ltbench data prepare` moves its images into a folder per class",
                    ),
                ),
            ),
        ),
        shifted=_shifted("ImageNet_LT", 1000, 50, """
            forward50 12058 0 1 dd0e2dbdc2ccabac572258817e353cbaf2e5b1cc208a0ebd68c684fcff7871be
            forward25 14437 0 2 7f243acc3f1ad813eb7a37bc65b976b2c5a1884299cb56db233ebf0d01dc8cf2
            forward10 19059 0 5 55fdd21a967f519418774137fad7ff5a83bc365b227601f9df4eae92a1648abb
            forward5 24365 0 10 49bcf866a40b5a0af7e1913da73b0e0188d0609c3d6c8fce14291571a78e86e3
            forward2 35574 0 25 d8e26572b45ccc3046f8bc408c40f693dae8ce1835977a20439060a18a45161e
            uniform 50000 0 50 369e85cd534de83f43965c54713893308ae6eacffb127b1f2a5619e0d11d3c74
            backward2 35574 0 25 1a154be6d2f6d2f1c9765abda78d689a03288ec41b6111ac4286e835c9927614
            backward5 24365 0 10 7b021b4a05e211d12fcd89757deb4ad6f25906c73a40e80144ac081e4e7b0867
            backward10 19059 0 5 12e707170e464c1477abbbda04037490c89e4ae02f96645b64768a574b1c68fd
            backward25 14437 0 2 c3f94a9824ec0f416c2dc432fe62826ba29e6015e6ea868cdae4acf566f9699b
            backward50 12058 0 1 5b41a38df0ba93c6763463f10cccc53dca6fbfcfc8a953be2160a971f368cb84
        """),
    ),
    "inat18": Facts(
        name="inat18",
        title="iNaturalist 2018",
        classes=8142,
        groups=(842, 4076, 3224),
        page="https://github.com/visipedia/inat_comp/tree/master/2018",
        lists_page=_BALANCING,
        mean=(0.466, 0.471, 0.380),
        std=(0.195, 0.194, 0.192),
        layouts=(
            Layout(
                folders=("train_val2018",),
                train=ListFacts(
                    "iNaturalist18_train.txt", 437_513, 8142, 1000, 2,
                    "158fa2dca040e6e95b06c68c7cdff40fe696f202793b2aa0e8b854321ffe1adf", likely=True,
                    counts_sha256="5f9ee00bc0fc98f0487ab71c1a4de914a067c27dd5b000e499684e7e07958f2a",
                ),
                test=ListFacts(
                    "iNaturalist18_val.txt", 24_426, 8142, 3, 3,
                    "efaeff65f80641b60864470e6f255aa69453406ef5717eec8c6681748f3a61f3",
                ),
                archives=(
                    Archive(
                        "train_val2018.tar.gz", "b1c6952ce38f31868cc50ea72d066cc3",
                        "as it is: train_val2018/Plantae/7291/*.jpg",
                    ),
                ),
            ),
        ),
        shifted=_shifted("iNaturalist18", 8142, 3, """
            forward3 11147 1 1 ee11535a300c9c4a75d60e8a32bbb7a5046ea2ac5bc16da2241072b7f67e6e45
            forward2 12906 0 1 ea2e77a4f99fe3117add12750c9d86e5c21b10e91f934ef345cabbfb5ecffbca
            uniform 24426 0 3 a95016b255cdd0193ab7639883de74e77214de9a05fe5a70c47c0b5a8aea7b42
            backward2 12906 0 1 be74a04c0cf67686d1072dce942171f9ee7fbfacee1884cc938adc5cd94638fd
            backward3 11137 8 1 51d5bb7c0e1ac65f1238c2b6f4fd9316ecb49352d859a5eac14611e33a308d28
        """),
    ),
    "places_lt": Facts(
        name="places_lt",
        title="Places-LT",
        classes=365,
        groups=(131, 163, 71),
        page="http://places2.csail.mit.edu",
        lists_page=f"{_BALANCING} (lists with train/ and val/), "
        "https://github.com/Vanint/SADE-AgnosticLT (those with data_256/ and val_256/, named Places_LT_v2_*)",
        mean=_IMAGENET_NORM[0],
        std=_IMAGENET_NORM[1],
        layouts=(
            Layout(
                folders=("train", "val"),
                train=ListFacts(
                    "Places_LT_train.txt", 62_500, 365, 4980, 5,
                    "726c4871dcbf07ce2f857703bfe32e9a83ffbf52d704239f6d95c4f4f4c247f7",
                    counts_sha256="77c3f45d8584917e770d1a02e14fac70e984cb239bd444de0417121cf6826e0a",
                ),
                val=ListFacts(
                    "Places_LT_val.txt", 7_300, 365, 20, 20,
                    "719e3cf3766c09134ea28f56f1036c78def511ac1ed2c2532a6beef78f2439ba",
                ),
                test=ListFacts(
                    "Places_LT_test.txt", 36_500, 365, 100, 100,
                    "44eee8441c8098c59195465abede425721bc35525d75209f9433b161a6eb37bc",
                ),
                archives=(
                    Archive("places365standard_easyformat.tar", "", "so that train/ and val/ lie there"),
                ),
            ),
            Layout(
                folders=("data_256", "val_256"),
                train=ListFacts(
                    "Places_LT_v2_train.txt", 62_500, 365, 4980, 5,
                    "09410632a22045212fb3231623261e8426ba8dc1887a2b633afeab78ba9c8868",
                    counts_sha256="77c3f45d8584917e770d1a02e14fac70e984cb239bd444de0417121cf6826e0a",
                ),
                val=ListFacts(
                    "Places_LT_v2_val.txt", 7_300, 365, 20, 20,
                    "09cf0e5abf684f946f60b6bf9c526a5ee85d09f555d2c4b9cfaaf22b19d04974",
                ),
                test=ListFacts(
                    "Places_LT_v2_test.txt", 36_500, 365, 100, 100,
                    "3c34622e44f036b17c7926b0b6bbdd3d335fa63077409ebb06da68afa7073cd9",
                ),
                archives=(
                    Archive(
                        "train_256_places365standard.tar", "53ca1c756c3d1e7809517cc47c5561c5", "as it is: data_256/"
                    ),
                    Archive("val_256.tar", "e27b17d8d44f4af9a78502beb927f808", "as it is: val_256/"),
                ),
            ),
        ),
        shifted=_shifted("Places_LT", 365, 100, """
            forward50 8989 0 2 12c24a1ee2e1d5b0912259c54b8f7d0a655f759ecca70758fe1a5c3a6ca49be4
            forward25 10727 0 4 1d7447da37a156461519a441f791744973caeabfd287d0b366be3945d147521f
            forward10 14103 0 10 b2427a9d4175b3480814710762b8be22c95999f5a7073e69d45cc3a68100654a
            forward5 17970 0 20 05d030bbefc7bdd673659377fe9f831a026c3fb50fabcbcdbdd27fc11b196bb1
            forward2 26155 0 50 00b8b6953bc3d631684e6499c7e53390768465c4c94e8b19120f9d377f318ac3
            uniform 36500 0 100 69029aed7f4513542f512e3d8f93b41cd2ea7cd601a1fa0bf3d0a0a5caf475a5
            backward2 26155 0 50 d6d76e42f253af62f2b5f1ea079fba5c70671b5e0bae5b0fbc6d7e035a660c6a
            backward5 17970 0 20 2f8f94931b71b20b11fa08596290d3eb2ad34b2b21f56676474461a2a527cdf7
            backward10 14103 0 10 5595b998a9a9f53a99cd3886fb845f8f5960a20142268d51509800fd7df95a55
            backward25 10727 0 4 614043445e8ee5f5c4efb33782ae7052fcb5ae9ea00c7bca90dba25141e444d1
            backward50 8989 0 2 58328fbe1ed93755d585cf59131f324edfc858ca524fb5af2c347671168ff3be
        """),
    ),
}  # fmt: skip

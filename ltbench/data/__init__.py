"""The datasets, the streams that draw from them, the batched augmentation. Importing this package imports no torch."""

"""Load ImageNet16-120, on which NAS-Bench-201 trains: 16x16 pixels, 120 classes.

It is downsampled ImageNet. The training pictures are those of `train_data_batch_*`; the 6,000 of
`val_data` are the test set.
"""

from __future__ import annotations

from pathlib import Path

from nasrun.datasets import checks, imagenet16_files
from nasrun.datasets.arrays import ArrayDataset
from nasrun.datasets.augmentation import Augmentation
from nasrun.datasets.npz import Layout, load_npz
from nasrun.errors import UsageError, raise_together, require
from nasrun.protocols.data import Dataset
from nasrun.protocols.settings import BatchSize, NumClasses, NumImages, Pixels, Place


def load_imagenet16(
    *,
    name: str,
    file: Place | None,
    official: bool,
    layout: Layout,
    num_classes: NumClasses | None,
    batch_size: BatchSize,
    limit: NumImages | None,
    crop_padding: Pixels,
    flip: bool,
    cutout_length: Pixels,
) -> Dataset:
    """Load images_NCHW, uint8, 3 x 16 x 16.

    Args:
        file: the folder of the official files, an .npz file, or `None` for the imported one.
        official: insist on the checksums of the official files.
        layout, num_classes: of an .npz file.

    Raises:
        UsageError: names what is wrong with the files, or `num_classes` is not that of the files.
    """
    path = imagenet16_files.imported() if file is None else Path(file).expanduser()
    if file is None and not path.is_file():
        raise UsageError(
            f"dataset=imagenet16 has no images yet (looked for {path}): type nasrun data import "
            "imagenet16 FOLDER, or say where the official files are with dataset.file=FOLDER"
        )
    if not path.is_dir():
        return load_npz(
            name=name,
            file=str(path),
            layout=layout,
            num_classes=num_classes,
            batch_size=batch_size,
            limit=limit,
            crop_padding=crop_padding,
            flip=flip,
            cutout_length=cutout_length,
        )
    total = imagenet16_files.NUM_CLASSES
    require(num_classes in (None, total), "dataset.num_classes", num_classes, f"null or {total}")
    arrays = imagenet16_files.read(path, official=official)
    problems = checks.class_problems(arrays["y_train"], arrays["y_test"], total)
    raise_together(f"dataset.file={path}: {problem}" for problem in problems)
    return ArrayDataset(
        name=name,
        train=(arrays["x_train"], arrays["y_train"]),
        test=(arrays["x_test"], arrays["y_test"]),
        num_classes=total,
        batch_size=batch_size,
        limit=limit,
        augmentation=Augmentation(crop_padding, flip, cutout_length),
    )

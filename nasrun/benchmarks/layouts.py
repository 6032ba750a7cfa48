"""Name the benchmarks that there are tables of, and the columns of their CSV files."""

from __future__ import annotations

BENCHMARKS = ("nasbench101", "nasbench201")  # those that there are tables of
IMAGES = ("imagenet16",)  # what can be imported besides
CSV_LAYOUTS = {
    "nasbench201": "a CSV file of nasbench201 has the columns arch (|op~0|+|op~0|op~1|+|op~0|op~1|"
    "op~2|) or edge_0_1, edge_0_2, edge_1_2, edge_0_3, edge_1_3, edge_2_3 (operations), then "
    "cifar10_val_200 and cifar10_test_200 (percent), the same for cifar100 and imagenet16 or one "
    "of them, and if known train_seconds_200_cifar10valid, train_seconds_200_cifar100, "
    "params_cifar10, flops_cifar10 and so on",
    "nasbench101": "a CSV file of nasbench101 has the columns adjacency (0 and 1, the matrix row "
    "by row), operations (from input to output, separated by spaces), test_accuracy (mean of the "
    "trainings, in [0, 1]), and if known val_accuracy, train_seconds, params",
}

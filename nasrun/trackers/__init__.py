"""Record runs elsewhere too, beside TensorBoard, one file per choice of `conf/tracker`."""

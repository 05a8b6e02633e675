"""The base class of data sets, which has no behaviour of its own."""


class Dataset:
    pass

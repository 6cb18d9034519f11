package locktable

type kind uint8

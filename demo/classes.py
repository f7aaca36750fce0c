"""The classes of the street scenes: their ids, names and colours."""

SKY, BUILDING, ROAD, PAVEMENT, TREE, CAR, PERSON, SIGN = range(8)
CLASSES = ("sky", "building", "road", "pavement", "tree", "car", "person", "sign")
THINGS = ("tree", "car", "person", "sign")
PALETTE = (
    (112, 164, 214),
    (158, 118, 98),
    (112, 82, 124),
    (226, 170, 208),
    (86, 148, 58),
    (30, 50, 170),
    (220, 34, 60),
    (246, 206, 40),
)
IGNORE_INDEX = 255

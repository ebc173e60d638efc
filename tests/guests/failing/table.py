TABLE = {"office": 0xC0000201}


def look_up(name):
    return TABLE.get(name)


def demand(name):
    if name not in TABLE:
        raise LookupError(f"{name} is not in the table")
    return TABLE[name]

# why: never gets ready
while True:
    pass

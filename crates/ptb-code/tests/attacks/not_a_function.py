# why: a name that is no function
length = 5

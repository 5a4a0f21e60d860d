# why: well-formed messages that are no values; another one for each process
import os
TRIES = (b'{"__class__":1}', b"NaN", b"-Infinity", b"{}", b'{"x":[]}', b'{"int":5}', b'{"int":"5","float":"5"}', b'{"float":"zz"}',
         b'{"dict":[1]}', b'{"dict":[[1]]}', b'{"dict":[[[],1]]}', b'{"set":[[1]]}', b'{"set":5}', b'{"complex":["1","1","1"]}',
         b'{"bytes":"0"}', b'{"tuple":"abc"}', b'{"int":"' + b"9" * 100_000 + b'z"}', b"9" * 100_000, b"\xff\xfe", b"", b"[1",
         b"5 5", b'"\n"')
def length(text):
    content = b"r" + TRIES[TRY % len(TRIES)]
    os.write(3, len(content).to_bytes(4, "little") + content)

TRY = 0

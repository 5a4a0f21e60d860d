//! One test item in files of every kind, and files that mean harm: found or told, bounded, never a panic.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use ptb_detect::{Index, Item, Limits};

const ITEM: &str = "A baker packs 12 loaves into each of 7 crates before sunrise, then sells 31 loaves at the market. \
                    How many loaves are left over for the neighbours?";

fn scan(folder: &Path, limits: &Limits) -> (BTreeMap<String, u64>, BTreeMap<String, String>) {
    let item = Item { id: "1".to_owned(), texts: vec![ITEM.to_owned()], ..Item::default() };
    let (mut found, mut unread) = (BTreeMap::new(), BTreeMap::new());
    let own = |file: &str| {
        file.strip_prefix(folder.to_str().unwrap()).unwrap().trim_start_matches('/').to_owned()
    };
    Index::new(&[item], []).scan(
        &[folder.to_owned()],
        limits,
        &mut |f| {
            found.insert(own(&f.file), f.line);
        },
        &mut |u| {
            unread.insert(own(&u.file), u.reason);
        },
    );
    (found, unread)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zipped(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(bytes).unwrap();
    archive.finish().unwrap().into_inner()
}

#[test]
fn an_item_is_found_in_files_of_every_kind() {
    let place = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(place.path().join(name), bytes).unwrap();
    let line = format!("{{\"a\": 1}}\n{{\"text\": \"{ITEM}\"}}\n");
    put("a.jsonl", line.as_bytes());
    put("b.txt", &gzip(line.as_bytes()));
    put("c", &zstd::encode_all(line.as_bytes(), 3).unwrap());
    put("d.json", format!("[{{\"q\": 1}}, {{\"q\": 2}}, {{\"q\": \"{ITEM}\"}}]").as_bytes());
    put("e.csv", format!("question,answer\n\"two\nlines\",1\n\"{ITEM}\",53\nx,2\n").as_bytes());
    put("f.md", format!("# Title\n\nA text that has nothing in it.\n\n{ITEM}\n").as_bytes());
    put("g.py", format!("import os\n\nDATA = [(\"{ITEM}\", 53)]\n").as_bytes());
    let cells = format!(
        "{{\"nbformat\": 4, \"cells\": [{{\"cell_type\": \"code\", \"source\": [\"x\"]}}, {{\"source\": \"{ITEM}\"}}]}}"
    );
    put("h.ipynb", cells.as_bytes());
    put("i.zip", &zipped("in.jsonl", line.as_bytes()));
    let (found, unread) = scan(place.path(), &Limits::default());
    let expected = [
        ("a.jsonl", 2),
        ("b.txt", 2),
        ("c", 2),
        ("d.json", 3),
        ("e.csv", 4),
        ("f.md", 5),
        ("g.py", 3),
        ("h.ipynb", 2),
        ("i.zip!in.jsonl", 2),
    ];
    assert_eq!(found, expected.map(|(name, line)| (name.to_owned(), line)).into());
    assert_eq!(unread, BTreeMap::new());
}

#[test]
fn files_that_mean_harm_are_bounded_and_told() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let put = |name: &str, bytes: &[u8]| fs::write(path(name), bytes).unwrap();
    put("bomb.gz", &gzip(&vec![b' '; 8 << 20]));
    let three = zipped("c.zip", &zipped("d.zip", &zipped("e.txt", ITEM.as_bytes())));
    put("nested.zip", &three);
    put("lying.parquet", b"PAR1\0\0\0\0\0\0\0\0\xff\xff\xff\x7fPAR1");
    put("short.parquet", b"PAR1");
    put("broken.ipynb", b"{\"cells\": [{\"cell_type\": \"code\", ");
    put("deep.json", "[".repeat(1 << 20).as_bytes());
    put("weights", b"\x40\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}        1234");
    put("torn.gz", &gzip(ITEM.as_bytes())[..30]);
    rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::RUSR).unwrap();
    std::os::unix::fs::symlink(".", path("loop")).unwrap();
    fs::write(place.path().join(OsStr::from_bytes(b"odd\xff\nname")), ITEM).unwrap();
    let mut sparse = File::create(path("sparse")).unwrap();
    sparse.set_len(50 << 30).unwrap();
    sparse.seek(SeekFrom::Start(20 << 30)).unwrap();
    sparse.write_all(ITEM.as_bytes()).unwrap();
    let (found, unread) = scan(place.path(), &Limits { unpacked: 1 << 20, ..Limits::default() });
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["odd\\xff\nname", "sparse"]);
    let told: Vec<&str> = unread.keys().map(String::as_str).collect();
    let expected = [
        "bomb.gz",
        "broken.ipynb",
        "loop",
        "lying.parquet",
        "nested.zip!c.zip!d.zip",
        "pipe",
        "short.parquet",
        "torn.gz",
        "weights",
    ];
    assert_eq!(told, expected, "{unread:#?}");
}

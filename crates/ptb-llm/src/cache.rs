//! Answers that were paid for, kept: an append-only JSON Lines file of valid replies. A crash loses nothing but the
//! line that was being written; a line that is damaged is told and left out, and its answer paid for again.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ptb_core::files::{FileError, JsonLog, Schema};
use serde::{Deserialize, Serialize};

use crate::{Finish, LlmError, Price, Reply, Usage};

/// Longest line that is read, in bytes: an answer of the largest size, every byte of it escaped.
const MAX_LINE: u64 = 64 << 20;

/// Valid replies by their calls' keys. Cheap to clone; clones are the same cache.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    log: JsonLog,
    replies: HashMap<String, Kept>,
    /// What was found wrong with the file and not told yet.
    damage: Vec<String>,
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// SHA-256 over address, model and call.
    key: String,
    /// The model that the server said replied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    text: String,
    finish: Finish,
    usage: Usage,
    /// When, as RFC 3339.
    at: String,
}

impl Schema for Kept {
    const KIND: &'static str = "cache of answers";
    const VERSION: u32 = 1;
}

impl Cache {
    /// Opens a file of answers, or makes it. A torn last line (a crash while writing) is cut off; damaged lines are
    /// left out, and told by the first client that uses the cache.
    ///
    /// # Errors
    /// [`LlmError::Cache`] when it cannot be read or written, or a newer version of this program wrote it.
    pub fn open(path: &Path) -> Result<Self, LlmError> {
        if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
            let e = std::io::Error::other("it is not a regular file");
            return Err(FileError::io("open", path)(e).into());
        }
        let log = JsonLog::open(path)?;
        let (replies, damage) = read(path)?;
        let state = Mutex::new(State { log, replies, damage });
        Ok(Self(Arc::new(Inner { path: path.to_owned(), state })))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// How many answers it holds.
    pub fn len(&self) -> usize {
        self.state().replies.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the kept replies cost by a price, in US dollars.
    pub fn cost(&self, price: &Price) -> f64 {
        self.state().replies.values().map(|kept| price.of(&kept.usage)).sum()
    }

    /// What was found wrong with the file, once.
    pub(crate) fn damage(&self) -> Vec<String> {
        std::mem::take(&mut self.state().damage)
    }

    /// The reply that is kept for a key; its cost is for others to say.
    pub(crate) fn get(&self, key: &str) -> Option<Reply> {
        let state = self.state();
        state.replies.get(key).map(|kept| Reply {
            text: kept.text.clone(),
            finish: kept.finish.clone(),
            usage: kept.usage,
            cost: None,
            model: kept.model.clone(),
        })
    }

    /// Keeps a valid reply; it takes the place of an earlier one.
    pub(crate) fn keep(&self, key: &str, reply: &Reply) -> Result<(), LlmError> {
        let kept = Kept {
            key: key.to_owned(),
            model: reply.model.clone(),
            text: reply.text.clone(),
            finish: reply.finish.clone(),
            usage: reply.usage,
            at: jiff::Timestamp::now().to_string(),
        };
        let mut state = self.state();
        state.log.append(&kept)?;
        state.replies.insert(kept.key.clone(), kept);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Best effort: the lines are with the kernel already, and only a loss of power takes them.
        let _ = state.log.sync();
    }
}

/// Whole lines by key, later ones over earlier ones, and what is wrong with the others.
fn read(path: &Path) -> Result<(HashMap<String, Kept>, Vec<String>), FileError> {
    #[derive(Deserialize)]
    struct Head {
        schema: u64,
    }
    let file = File::open(path).map_err(FileError::io("read", path))?;
    let mut reader = BufReader::new(file);
    let (mut replies, mut damage, mut line) = (HashMap::new(), Vec::new(), Vec::new());
    for number in 1u64.. {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        let n = read.map_err(FileError::io("read", path))?;
        if n == 0 {
            break;
        }
        if n as u64 == MAX_LINE {
            let reason = format!("line {number}: it has more than the {MAX_LINE} bytes allowed");
            return Err(FileError::Invalid { path: path.to_owned(), kind: Kept::KIND, reason });
        }
        match serde_json::from_slice::<Head>(&line).map(|head| head.schema) {
            Ok(found) if found > u64::from(Kept::VERSION) => {
                let (path, kind, known) = (path.to_owned(), Kept::KIND, Kept::VERSION);
                return Err(FileError::Newer { path, kind, found, known });
            }
            head => match head.and_then(|_| serde_json::from_slice::<Kept>(&line)) {
                Ok(kept) => drop(replies.insert(kept.key.clone(), kept)),
                Err(e) => damage.push(format!(
                    "{}: line {number} is damaged ({e}); it is left out, and its answer asked for again",
                    path.display()
                )),
            },
        }
    }
    Ok((replies, damage))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn reply(text: &str) -> Reply {
        let usage = Usage { input: 10, cached_input: 4, output: 5, reasoning: 2 };
        let model = Some("m-1".to_owned());
        Reply { text: text.to_owned(), finish: Finish::Stop, usage, cost: None, model }
    }

    #[test]
    fn replies_are_found_again_and_later_ones_win() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/answers.jsonl");
        let cache = Cache::open(&path).unwrap();
        assert!(cache.is_empty() && cache.get("a").is_none());
        cache.keep("a", &reply("one\n\u{0}\u{1f600}")).unwrap();
        cache.keep("b", &reply("two")).unwrap();
        cache.clone().keep("a", &reply("three")).unwrap();
        assert_eq!(cache.get("a").unwrap(), reply("three"));
        let again = Cache::open(&path).unwrap();
        assert_eq!((again.len(), again.get("a")), (2, Some(reply("three"))));
        assert!(again.damage().is_empty());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.lines().count() == 3 && text.starts_with(r#"{"schema":1,"key":"a","#),
            "{text}"
        );
    }

    /// Wherever a writer is killed, what was whole is found and the file can be written on.
    #[test]
    fn a_kill_at_any_byte_loses_only_the_line_being_written() {
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("whole");
        let cache = Cache::open(&whole).unwrap();
        cache.keep("a", &reply("one")).unwrap();
        let first = std::fs::metadata(&whole).unwrap().len() as usize;
        cache.keep("b", &reply("two")).unwrap();
        let bytes = std::fs::read(&whole).unwrap();
        for end in 0..=bytes.len() {
            let path = dir.path().join("cut");
            std::fs::write(&path, &bytes[..end]).unwrap();
            let cache = Cache::open(&path).unwrap();
            assert_eq!(cache.get("a").is_some(), end >= first, "{end}");
            assert_eq!(cache.get("b").is_some(), end == bytes.len(), "{end}");
            assert!(cache.damage().is_empty(), "{end}");
            cache.keep("c", &reply("three")).unwrap();
            assert_eq!(Cache::open(&path).unwrap().get("c"), Some(reply("three")), "{end}");
        }
    }

    #[test]
    fn damaged_lines_are_told_once_and_newer_files_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers.jsonl");
        Cache::open(&path).unwrap().keep("a", &reply("one")).unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"schema\":1,\"key\":\"b\"}\n\xff\xfe\nnot json\n{\"key\":\"c\"}\n")
            .unwrap();
        Cache::open(&path).unwrap().keep("d", &reply("two")).unwrap();
        let cache = Cache::open(&path).unwrap();
        assert_eq!(cache.len(), 2);
        let damage = cache.damage();
        assert_eq!(damage.len(), 4, "{damage:?}");
        assert!(damage[1].contains("answers.jsonl: line 3 is damaged"), "{damage:?}");
        assert!(cache.damage().is_empty());
        file.write_all(b"{\"schema\":2,\"key\":\"e\"}\n").unwrap();
        let e = Cache::open(&path).unwrap_err().to_string();
        assert!(e.contains("schema 2") && e.contains("hint"), "{e}");
        assert!(Cache::open(dir.path()).is_err());
    }
}

//! The whole way of a trace: file lines, the format's parser, the composer.

use std::io::{BufRead, Read, Write};

use crate::about::About;
use crate::api::Gathered;
use crate::atif::Atif;
use crate::compose::{Composer, Finished, Stray};
use crate::error::TraceError;
use crate::format::{Format, Parser, Verdict};
use crate::lines::{Feed, LONGEST, Printed, Reader};
use crate::render::{Look, Page};
use crate::step::Source;
use crate::summary::Summary;
use crate::text::whole_characters;

/// One trace on its way.
struct Tracer<T: Write> {
    feed: Feed,
    parser: Box<dyn Parser>,
    composer: Composer<T>,
}

impl<T: Write> Tracer<T> {
    fn new(
        format: Format,
        about: &About,
        look: Look,
        to: T,
        api: Option<&Gathered>,
    ) -> std::io::Result<Self> {
        let tools = api.map_or(&[][..], |api| &api.tools);
        let atif = Atif::begin(to, about, tools)?;
        let mut page = Page::new(look);
        page.title(&about.name, &about.version, about.model.as_deref());
        let mut composer = Composer::new(about.clone(), atif, page);
        if let Some(system) = api.and_then(|api| api.system.as_deref()) {
            composer.opening(Source::System, system);
        }
        if let Some(prompt) = about.prompt.as_deref().filter(|_| !format.tells_prompt()) {
            composer.opening(Source::User, prompt);
        }
        let feed = Feed::new(about.form, LONGEST);
        Ok(Self { feed, parser: format.parser(), composer })
    }

    fn line(&mut self, raw: &[u8], cut: bool) {
        let (parser, composer) = (&mut self.parser, &mut self.composer);
        self.feed.line(raw, cut, &mut |printed| take(&mut **parser, composer, &printed));
    }

    fn finish(mut self, api: Option<Gathered>) -> Finished {
        let (parser, composer) = (&mut self.parser, &mut self.composer);
        self.feed.end(&mut |printed| take(&mut **parser, composer, &printed));
        self.composer.finish(api)
    }
}

/// Sends a line where it belongs, and counts it there.
fn take<T: Write>(parser: &mut dyn Parser, composer: &mut Composer<T>, printed: &Printed<'_>) {
    composer.line(printed.seconds);
    let own = parser.takes_stderr();
    if printed.stderr && !own {
        composer.summary.lines.stderr += 1;
        return composer.stray(Stray::Stderr, &printed.text);
    }
    if printed.cut && !own {
        composer.summary.lines.broken += 1;
        return composer.stray(Stray::Broken, &printed.text);
    }
    if printed.text.trim_ascii().is_empty() && !own {
        composer.summary.lines.blank += 1;
        return;
    }
    let text = match own {
        true => std::borrow::Cow::Borrowed(&*printed.text),
        false => whole_characters(&printed.text),
    };
    let verdict = parser.line(&text, printed.seconds, &mut |event| composer.event(event));
    let lines = &mut composer.summary.lines;
    match verdict {
        Verdict::Used => lines.used += 1,
        Verdict::Passed => lines.passed += 1,
        Verdict::Unknown => {
            lines.unknown += 1;
            composer.stray(Stray::Unknown, &printed.text);
        }
        Verdict::Broken => {
            lines.broken += 1;
            composer.stray(Stray::Broken, &printed.text);
        }
    }
}

/// Turns a trace into `trajectory.json` and `transcript.md`.
///
/// `input` is `attempts/<n>/output.jsonl`, or what the scaffold printed; `api` is `attempts/<n>/api.jsonl.zst`. Nothing
/// in either can make this fail, only reading and writing can.
///
/// # Errors
/// When the input cannot be read or an output cannot be written.
pub fn convert(
    input: impl BufRead,
    format: Format,
    api: Option<&mut dyn Read>,
    about: &About,
    trajectory: impl Write,
    mut transcript: impl Write,
) -> Result<Summary, TraceError> {
    let write = |what| move |source| TraceError::Write { what, source };
    let (json, page) = (write("the trajectory"), write("the transcript"));
    let api = api.map(Gathered::read);
    let tracer = Tracer::new(format, about, Look::Markdown, trajectory, api.as_ref());
    let mut tracer = tracer.map_err(json)?;
    let mut lines = Reader::new(input, LONGEST);
    while let Some((line, cut)) = lines.next().map_err(TraceError::Read)? {
        tracer.line(line, cut);
        let news = tracer.composer.page.take();
        transcript.write_all(news.as_bytes()).map_err(page)?;
        if let Some(e) = tracer.composer.failure() {
            return Err(json(e));
        }
    }
    let mut finished = tracer.finish(api);
    if let Some(e) = finished.failed {
        return Err(json(e));
    }
    transcript.write_all(finished.page.take().as_bytes()).map_err(page)?;
    transcript.flush().map_err(page)?;
    Ok(finished.summary)
}

/// A trace that is read while it grows: lines in, text for a person out.
pub struct Follower(Tracer<std::io::Sink>);

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Follower").field(&self.0.composer.summary).finish()
    }
}

impl Follower {
    /// Begins to follow.
    ///
    /// # Errors
    /// Never, as long as nothing is written; the type is that of the writer of trajectories.
    pub fn new(format: Format, about: &About, look: Look) -> Result<Self, TraceError> {
        let tracer = Tracer::new(format, about, look, std::io::sink(), None);
        tracer.map(Self).map_err(|source| TraceError::Write { what: "the trajectory", source })
    }

    /// Takes one whole line, without its newline, of either form. Gives what is new to be shown.
    pub fn line(&mut self, line: &[u8]) -> String {
        self.0.line(line, false);
        self.0.composer.page.take()
    }

    /// What is known so far.
    pub fn summary(&self) -> &Summary {
        &self.0.composer.summary
    }

    /// The trace has ended: the last text and the sums.
    pub fn finish(self) -> (String, Summary) {
        let mut finished = self.0.finish(None);
        (finished.page.take(), finished.summary)
    }
}

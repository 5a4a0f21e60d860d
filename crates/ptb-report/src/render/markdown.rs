//! The Markdown form: a table of GitHub's flavour, notes as a list.

use super::grid::grid;
use super::sections;
use crate::report::Report;
use crate::text::{MAX_SHOWN, shown};

impl Report {
    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        if self.rows.is_empty() {
            out.push_str("no runs to report\n");
        } else {
            let grid = grid(self);
            out.push_str(&line(&grid.header));
            let aligned = |i| if i == 0 { "---" } else { "---:" };
            let rule: Vec<&str> = (0..grid.header.len()).map(aligned).collect();
            out.push_str(&format!("| {} |\n", rule.join(" | ")));
            grid.rows.iter().for_each(|row| out.push_str(&line(row)));
        }
        out.push('\n');
        for note in &self.notes {
            out.push_str(&format!("- {}\n", escape(&shown(note, 3 * MAX_SHOWN))));
        }
        for (heading, lines) in sections(self) {
            out.push_str(&format!("\n**{heading}**\n\n"));
            lines.iter().for_each(|line| out.push_str(&format!("- {}\n", escape(line))));
        }
        out
    }
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// Clean text with every character that Markdown or HTML could act on escaped.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' => out.push_str("&#64;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '!' | '#' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

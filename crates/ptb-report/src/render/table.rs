//! The table for a terminal: no colours, no escapes, split into blocks where it is wider than the screen.

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle, Width,
};

use super::grid::{Grid, grid};
use super::sections;
use crate::report::Report;
use crate::text::{MAX_SHOWN, shown, wrap};

/// Characters around a column's content: a blank on either side, and one between columns.
const AROUND: usize = 3;

/// Narrowest label, in characters, however narrow the screen.
const MIN_LABEL: usize = 12;

impl Report {
    /// The report as text for people. `width` is the screen's, in columns; absent means no limit.
    pub fn table(&self, width: Option<u16>) -> String {
        let mut out = String::new();
        if self.rows.is_empty() {
            out.push_str("no runs to report\n");
        } else {
            let grid = grid(self);
            let blocks: Vec<String> =
                blocks(&grid, width).iter().map(|columns| block(&grid, columns, width)).collect();
            out.push_str(&blocks.join("\n"));
        }
        out.push('\n');
        for note in &self.notes {
            out.push_str(&format!("{}\n", wrap(&shown(note, 3 * MAX_SHOWN), width)));
        }
        for (heading, lines) in sections(self) {
            out.push_str(&format!("\n{heading}\n"));
            lines
                .iter()
                .for_each(|line| out.push_str(&format!("{}\n", wrap(&format!("  {line}"), width))));
        }
        out
    }
}

/// Which columns stand together: the label, and as many others as fit beside it.
fn blocks(grid: &Grid, width: Option<u16>) -> Vec<Vec<usize>> {
    let all: Vec<usize> = (0..grid.header.len()).collect();
    let Some(limit) = width.map(usize::from) else { return vec![all] };
    let mut widths: Vec<usize> = unbounded(grid, &all)
        .column_max_content_widths()
        .iter()
        .map(|w| usize::from(*w) + AROUND)
        .collect();
    if let Some(label) = widths.first_mut() {
        *label = (*label).min(max_label(limit) + AROUND);
    }
    let of = |i: usize| widths.get(i).copied().unwrap_or_default();
    let (mut blocks, mut block, mut used) = (Vec::new(), vec![0], of(0));
    for i in 1..grid.header.len() {
        if used + of(i) > limit && block.len() > 1 {
            blocks.push(std::mem::replace(&mut block, vec![0]));
            used = of(0);
        }
        block.push(i);
        used += of(i);
    }
    blocks.push(block);
    blocks
}

/// Labels wrap at two fifths of the screen, so that numbers have room.
fn max_label(width: usize) -> usize {
    (width * 2 / 5).max(MIN_LABEL)
}

fn unbounded(grid: &Grid, columns: &[usize]) -> Table {
    let pick = |row: &Vec<String>| -> Vec<String> {
        columns.iter().filter_map(|i| row.get(*i).cloned()).collect()
    };
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().header_separator(rule));
    table.set_header(pick(&grid.header));
    table.add_rows(grid.rows.iter().map(pick));
    table.column_iter_mut().skip(1).for_each(|c| c.set_cell_alignment(CellAlignment::Right));
    table
}

fn block(grid: &Grid, columns: &[usize], width: Option<u16>) -> String {
    let mut table = unbounded(grid, columns);
    if let Some(width) = width {
        let width = width.max(20);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        let label = u16::try_from(max_label(width.into())).unwrap_or(width).saturating_add(2);
        if let Some(column) = table.column_mut(0) {
            column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(label)));
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

//! What the caller knows about a trace: who ran, since when, with how much time.

/// Who ran, and under what conditions.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The scaffold or the agent's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The model that drives it.
    pub model: Option<String>,
    /// Identifier of the run or attempt; the scaffold's own session id otherwise.
    pub session: Option<String>,
    /// What the agent was told at first; formats that print it themselves do not need it.
    pub prompt: Option<String>,
    /// When the attempt began: recorded seconds count from here.
    pub began: Option<jiff::Timestamp>,
    /// The time that the agent had.
    pub budget: Option<Budget>,
    /// How the lines come.
    pub form: Form,
}

/// How the lines of a trace come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// As the first line looks like.
    #[default]
    Detect,
    /// `attempts/<n>/output.jsonl`: each line is a record with time, stream and text.
    Recorded,
    /// As the scaffold printed them.
    Bare,
}

/// The time an agent had, and how it passed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Budget {
    /// All of it, in seconds.
    pub seconds: f64,
    /// Seconds since the attempt began -> seconds consumed, ascending. Time without service is not charged, so the
    /// two differ. Between two entries it is interpolated; with no entries every second counts.
    pub consumed: Vec<(f64, f64)>,
}

impl Budget {
    /// Seconds left at a time of the attempt.
    pub fn left(&self, wall: f64) -> f64 {
        let after = self.consumed.partition_point(|(at, _)| *at <= wall);
        let before = after.checked_sub(1).and_then(|i| self.consumed.get(i)).copied();
        let consumed = match (before, self.consumed.get(after)) {
            (None, None) => wall,
            (None, Some((at, used))) if *at > 0.0 => used * (wall / at).clamp(0.0, 1.0),
            (None, Some((_, used))) => *used,
            (Some((at, used)), None) => used + (wall - at),
            (Some((a, x)), Some((b, y))) => x + (y - x) * ((wall - a) / (b - a)),
        };
        (self.seconds - consumed).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn time_without_service_is_not_charged() {
        let budget =
            Budget { seconds: 100.0, consumed: vec![(10.0, 10.0), (30.0, 10.0), (40.0, 20.0)] };
        for (wall, left) in
            [(0.0, 100.0), (5.0, 95.0), (10.0, 90.0), (20.0, 90.0), (35.0, 85.0), (50.0, 70.0)]
        {
            assert_eq!(budget.left(wall), left, "at {wall}");
        }
        assert_eq!(Budget { seconds: 5.0, consumed: vec![] }.left(7.0), 0.0);
    }
}

//! What goes wrong once, at a chosen APDU.

use std::{fmt, str::FromStr};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The card forgets what it was told since its power came, and nobody hears of it; then it takes the APDU.
    Reset,
    /// The card is taken out before it sees the APDU, and put in again.
    Pull,
    /// The card does what the APDU says and is taken out before it answers, and put in again.
    Lose,
}

/// One fault. APDUs are counted from 1, from the card's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    kind: Kind,
    left: u32,
}

impl Fault {
    /// What happens at the next APDU.
    pub(crate) fn next(&mut self) -> Option<Kind> {
        let now = self.left == 1;
        self.left = self.left.saturating_sub(1);
        now.then_some(self.kind)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Reset => "reset",
            Kind::Pull => "pull",
            Kind::Lose => "lose",
        };
        write!(f, "{kind}@{}", self.left)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is no fault: reset@N, pull@N or lose@N, N from 1");
        let (kind, at) = text.split_once('@').ok_or_else(refused)?;
        let kind = match kind {
            "reset" => Kind::Reset,
            "pull" => Kind::Pull,
            "lose" => Kind::Lose,
            _ => return Err(refused()),
        };
        let left = at.parse().ok().filter(|at| *at > 0).ok_or_else(refused)?;
        Ok(Self { kind, left })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_once() {
        let mut fault: Fault = "pull@3".parse().unwrap();
        assert_eq!(fault.to_string(), "pull@3");
        let struck: Vec<_> = (0..5).map(|_| fault.next()).collect();
        assert_eq!(struck, [None, None, Some(Kind::Pull), None, None]);
    }

    #[test]
    fn other_words_are_refused() {
        for text in ["", "pull", "pull@0", "pull@x", "burn@3", "pull@-1"] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }
}

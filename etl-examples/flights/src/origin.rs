//! The three airports of departure that the data set covers.

use serde::{Deserialize, Serialize};

/// An airport of New York; its number in columns is its place in [`Origin::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Origin {
    /// Newark Liberty.
    Ewr,
    /// John F. Kennedy.
    Jfk,
    /// LaGuardia.
    Lga,
}

impl Origin {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Ewr, Self::Jfk, Self::Lga];

    /// The airport's code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Ewr => "EWR",
            Self::Jfk => "JFK",
            Self::Lga => "LGA",
        }
    }

    pub(crate) fn parse(code: &[u8]) -> Option<Self> {
        match code {
            b"EWR" => Some(Self::Ewr),
            b"JFK" => Some(Self::Jfk),
            b"LGA" => Some(Self::Lga),
            _ => None,
        }
    }
}

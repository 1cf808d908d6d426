//! What every month is joined with, in a form that is small to send twelve times.
//!
//! The weather is a dense grid of one byte for each airport and hour, so a join is an index and
//! the grid's 26 kB are copied, not decoded.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::hour::HOURS;
use crate::origin::Origin;
use crate::reference::{Airlines, Airports};

/// What `clean-weather` answers: columns of equal length.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanWeather {
    /// Where it was measured.
    pub origin: Vec<Origin>,
    /// UTC, as hours since the start of the year.
    pub hour: Vec<u16>,
    /// Whether precipitation was above 0; null when it was not measured.
    pub wet: Vec<Option<bool>>,
}

/// The answer of `clean-weather` is not a table of the weather.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The columns have different lengths.
    #[error(
        "clean-weather answered {origin} origins, {hour} hours and {wet} wet values; expected as many of each"
    )]
    Ragged {
        /// Length of `origin`.
        origin: usize,
        /// Length of `hour`.
        hour: usize,
        /// Length of `wet`.
        wet: usize,
    },
    /// An hour outside the year.
    #[error("clean-weather answered hour {hour} in row {row}; expected less than {HOURS}")]
    Hour {
        /// Index of the row.
        row: usize,
        /// The hour.
        hour: u16,
    },
    /// Two rows for one airport and hour.
    #[error("clean-weather answered {} at hour {hour} twice, the second time in row {row}", origin.code())]
    Twice {
        /// Index of the second row.
        row: usize,
        /// The airport.
        origin: Origin,
        /// The hour.
        hour: u16,
    },
}

/// What is known of the weather at one airport and hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// There is no row.
    Missing,
    /// There is a row without a measured precipitation.
    Unmeasured,
    /// No precipitation.
    Dry,
    /// Some precipitation.
    Wet,
}

impl Weather {
    /// All of them; the place is the code in a grid or column.
    pub const ALL: [Self; 4] = [Self::Missing, Self::Unmeasured, Self::Dry, Self::Wet];

    /// The value of the report's `wet` column, or nothing when there is no row.
    pub fn wet(self) -> Option<Option<bool>> {
        match self {
            Self::Missing => None,
            Self::Unmeasured => Some(None),
            Self::Dry => Some(Some(false)),
            Self::Wet => Some(Some(true)),
        }
    }
}

/// Names and weather, looked up while a month is joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookups {
    carriers: Names,
    airports: Names,
    /// Place in [`Weather::ALL`] for each airport and hour, an airport after the other.
    weather: ByteBuf,
}

/// Codes in order and the name of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Names {
    codes: Vec<String>,
    names: Vec<String>,
}

/// Puts the small tables and the cleaned weather into the form that months are joined with.
///
/// # Errors
/// [`LookupError`] when the cleaned weather, which another program made, is not a table.
pub fn lookups(
    weather: &CleanWeather,
    airlines: &Airlines,
    airports: &Airports,
) -> Result<Lookups, LookupError> {
    Ok(Lookups {
        carriers: Names::new(&airlines.carrier, &airlines.name),
        airports: Names::new(&airports.faa, &airports.name),
        weather: grid(weather)?,
    })
}

impl Lookups {
    /// Name of an airline.
    pub fn carrier(&self, code: &str) -> Option<&str> {
        self.carriers.get(code)
    }

    /// Name of an airport.
    pub fn airport(&self, code: &str) -> Option<&str> {
        self.airports.get(code)
    }

    /// The weather at an airport (a place in [`Origin::ALL`]) and hour; missing outside the grid.
    #[inline]
    pub fn weather(&self, origin: u8, hour: u16) -> Weather {
        let cell = self
            .weather
            .get(cell(origin, hour))
            .copied()
            .unwrap_or_default();
        Weather::ALL
            .get(usize::from(cell))
            .copied()
            .unwrap_or(Weather::Missing)
    }
}

impl Names {
    fn new(codes: &[String], names: &[String]) -> Self {
        let mut pairs: Vec<_> = codes.iter().zip(names).collect();
        pairs.sort_unstable();
        let (codes, names) = pairs
            .into_iter()
            .map(|(code, name)| (code.clone(), name.clone()))
            .unzip();
        Self { codes, names }
    }

    fn get(&self, code: &str) -> Option<&str> {
        let place = self
            .codes
            .binary_search_by(|found| found.as_str().cmp(code))
            .ok()?;
        self.names.get(place).map(String::as_str)
    }
}

fn grid(clean: &CleanWeather) -> Result<ByteBuf, LookupError> {
    let CleanWeather { origin, hour, wet } = clean;
    if origin.len() != hour.len() || origin.len() != wet.len() {
        return Err(LookupError::Ragged {
            origin: origin.len(),
            hour: hour.len(),
            wet: wet.len(),
        });
    }
    let mut grid = vec![Weather::Missing as u8; Origin::ALL.len() * usize::from(HOURS)];
    for (row, ((&origin, &hour), &wet)) in origin.iter().zip(hour).zip(wet).enumerate() {
        if hour >= HOURS {
            return Err(LookupError::Hour { row, hour });
        }
        let weather = match wet {
            None => Weather::Unmeasured,
            Some(false) => Weather::Dry,
            Some(true) => Weather::Wet,
        };
        let cell = &mut grid[cell(origin as u8, hour)];
        if *cell != Weather::Missing as u8 {
            return Err(LookupError::Twice { row, origin, hour });
        }
        *cell = weather as u8;
    }
    Ok(ByteBuf::from(grid))
}

#[inline]
fn cell(origin: u8, hour: u16) -> usize {
    usize::from(origin) * usize::from(HOURS) + usize::from(hour)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(clean: CleanWeather, expect: &str) {
        let error = lookups(&clean, &Airlines::default(), &Airports::default()).unwrap_err();
        assert_eq!(error.to_string(), expect);
    }

    #[test]
    fn an_answer_that_is_not_a_table_is_refused() {
        check(
            CleanWeather {
                origin: vec![Origin::Ewr],
                hour: vec![],
                wet: vec![None],
            },
            "clean-weather answered 1 origins, 0 hours and 1 wet values; expected as many of each",
        );
        check(
            CleanWeather {
                origin: vec![Origin::Ewr],
                hour: vec![9000],
                wet: vec![None],
            },
            "clean-weather answered hour 9000 in row 0; expected less than 8784",
        );
        check(
            CleanWeather {
                origin: vec![Origin::Ewr; 2],
                hour: vec![7; 2],
                wet: vec![None; 2],
            },
            "clean-weather answered EWR at hour 7 twice, the second time in row 1",
        );
    }
}

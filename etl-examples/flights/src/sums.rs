//! Exact sums from which the means of the report are taken.
//!
//! Integers only: addition in any order gives the same result, so months may finish in any order.

use serde::{Deserialize, Serialize};

/// Sum and number of the values that are not null.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Sum of the values, in minutes.
    pub sum: i64,
    /// How many there are.
    pub count: u64,
}

/// What is counted of a group of flights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Flights in the group, the cancelled ones among them.
    pub flights: u64,
    /// Flights that did not depart.
    pub cancelled: u64,
    /// Delay of departure.
    pub dep_delay: Tally,
    /// Delay of arrival.
    pub arr_delay: Tally,
}

impl Tally {
    /// The mean in minutes, or nothing when all values are null.
    pub fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    #[inline]
    fn add(&mut self, value: Option<i16>) {
        // Without a branch: nulls are rare but not in runs.
        self.sum += i64::from(value.unwrap_or(0));
        self.count += u64::from(value.is_some());
    }

    fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.count += other.count;
    }
}

impl Sums {
    /// Counts a flight.
    #[inline]
    pub(crate) fn add(&mut self, cancelled: bool, dep_delay: Option<i16>, arr_delay: Option<i16>) {
        self.flights += 1;
        self.cancelled += u64::from(cancelled);
        self.dep_delay.add(dep_delay);
        self.arr_delay.add(arr_delay);
    }

    /// Takes up another group.
    pub(crate) fn merge(&mut self, other: Self) {
        self.flights += other.flights;
        self.cancelled += other.cancelled;
        self.dep_delay.merge(other.dep_delay);
        self.arr_delay.merge(other.arr_delay);
    }
}

//! The flights pipeline as plain functions: five CSV files in, a SQLite report out.
//!
//! The stages, in the order the data takes them:
//!
//! | stage | function | one value out |
//! |---|---|---|
//! | extract | [`flights::extract_flights`] | a [`flights::FlightMonth`] for each month |
//! | extract | [`weather::extract_weather`] | a [`weather::WeatherTable`] |
//! | extract | [`reference::extract_airlines`], `…_airports`, `…_planes` | one table each |
//! | clean | `clean-weather/handler.py`, over HTTP | [`lookups::CleanWeather`] |
//! | transform | [`lookups::lookups`] | [`lookups::Lookups`] |
//! | transform | [`month::transform_month`] | [`month::MonthSums`] for each month |
//! | aggregate | [`report::aggregate`] | a [`report::Report`] |
//! | load | [`load::load`] | a [`load::LoadSummary`] |
//!
//! Invariants: every value type is serde data, so that a stage can run in another process than
//! the one before it; what a stage takes has been checked by the stage that made it; sums are
//! integers, so the result does not depend on the order in which months finish.
//!
//! Only [`flow`] knows the platform: it puts edges, retries and timeouts around the functions.

pub mod job;

pub mod rejected;

pub mod extract;

pub mod column;
pub mod hour;
pub mod origin;

mod dictionary;
mod lines;
mod row;

pub mod flights;
pub mod reference;
pub mod weather;

pub mod lookups;

pub mod month;
pub mod report;
pub mod sums;

pub mod load;

pub mod flow;

#[cfg(test)]
mod fixture;

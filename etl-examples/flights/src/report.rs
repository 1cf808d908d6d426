//! The aggregate: the sums of all months put together, and the last check of rejected rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::job::Job;
use crate::month::{CarrierSums, MonthSums, RouteSums, WeatherSums};
use crate::rejected::{Checked, Rejected, TooManyRejected, check_rejected};
use crate::sums::Sums;

/// What goes into the database, each list in the order of its keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Rows read from the flights table, the rejected ones among them.
    pub flights_read: u64,
    /// Rejected rows of all files, by file and line.
    pub rejected: Vec<Rejected>,
    /// All flights.
    pub total: Sums,
    /// By month, 1 to 12.
    pub months: Vec<(u8, Sums)>,
    /// By carrier.
    pub carriers: Vec<CarrierSums>,
    /// By origin and destination.
    pub routes: Vec<RouteSums>,
    /// By origin and weather, for the flights that have a weather row.
    pub weather: Vec<WeatherSums>,
}

/// Puts the months together; `tables` is what the other four extractions went through.
///
/// # Errors
/// [`TooManyRejected`] when all files together have more rejected rows than the job allows.
pub fn aggregate(
    job: &Job,
    months: Vec<MonthSums>,
    tables: Vec<Checked>,
) -> Result<Report, TooManyRejected> {
    let mut report = Report::default();
    let mut by_month: BTreeMap<_, Sums> = BTreeMap::new();
    let mut carriers: BTreeMap<_, Sums> = BTreeMap::new();
    let mut routes: BTreeMap<_, Sums> = BTreeMap::new();
    let mut weather: BTreeMap<_, Sums> = BTreeMap::new();
    for month in months {
        report.flights_read += month.checked.read;
        report.rejected.extend(month.checked.rejected);
        report.total.merge(month.total);
        by_month.entry(month.month).or_default().merge(month.total);
        for CarrierSums { carrier, sums } in month.carriers {
            carriers.entry(carrier).or_default().merge(sums);
        }
        for RouteSums { origin, dest, sums } in month.routes {
            routes.entry((origin, dest)).or_default().merge(sums);
        }
        for WeatherSums { origin, wet, sums } in month.weather {
            weather.entry((origin, wet)).or_default().merge(sums);
        }
    }
    report
        .rejected
        .extend(tables.into_iter().flat_map(|table| table.rejected));
    report
        .rejected
        .sort_by(|a, b| (&a.source, a.line).cmp(&(&b.source, b.line)));
    check_rejected("all files", job.rejected_max, &report.rejected)?;

    report.months = by_month.into_iter().collect();
    report.carriers = carriers
        .into_iter()
        .map(|(carrier, sums)| CarrierSums { carrier, sums })
        .collect();
    report.routes = routes
        .into_iter()
        .map(|((origin, dest), sums)| RouteSums { origin, dest, sums })
        .collect();
    report.weather = weather
        .into_iter()
        .map(|((origin, wet), sums)| WeatherSums { origin, wet, sums })
        .collect();
    Ok(report)
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::month::Named;
    use crate::origin::Origin;
    use crate::sums::Tally;

    fn rejected(source: &str, line: u64) -> Rejected {
        Rejected {
            source: source.into(),
            line,
            reason: "bad".into(),
        }
    }

    fn month(month: u8, delay: i64) -> MonthSums {
        let dep_delay = Tally {
            sum: delay,
            count: 1,
        };
        let sums = Sums {
            flights: 1,
            dep_delay,
            ..Sums::default()
        };
        let named = |code: &str| Named {
            code: code.into(),
            name: None,
        };
        MonthSums {
            month,
            checked: Checked {
                read: 2,
                rejected: vec![rejected("flights.csv", u64::from(month))],
            },
            total: sums,
            carriers: vec![CarrierSums {
                carrier: named("UA"),
                sums,
            }],
            routes: vec![RouteSums {
                origin: Origin::Jfk,
                dest: named("IAH"),
                sums,
            }],
            weather: vec![WeatherSums {
                origin: Origin::Jfk,
                wet: Some(true),
                sums,
            }],
        }
    }

    fn tables() -> Vec<Checked> {
        vec![Checked {
            read: 9,
            rejected: vec![rejected("airlines.csv", 3)],
        }]
    }

    #[test]
    fn months_add_up_in_any_order() {
        let job = Job::default();
        let report = aggregate(&job, vec![month(1, 5), month(2, -1)], tables()).unwrap();
        assert_eq!(
            report,
            aggregate(&job, vec![month(2, -1), month(1, 5)], tables()).unwrap()
        );
        assert_eq!((report.flights_read, report.total.flights), (4, 2));
        assert_eq!(
            report
                .months
                .iter()
                .map(|(month, _)| *month)
                .collect::<Vec<_>>(),
            [1, 2]
        );
        assert_eq!(report.carriers.len(), 1);
        assert_eq!(report.routes[0].sums.dep_delay, Tally { sum: 4, count: 2 });
        assert_eq!(report.weather[0].sums.dep_delay.mean(), Some(2.0));
    }

    #[test]
    fn the_limit_also_holds_for_all_files_together() {
        let job = Job {
            rejected_max: 2,
            ..Job::default()
        };
        let error = aggregate(&job, vec![month(1, 5), month(2, -1)], tables()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 rows of all files rejected, limit 2; the first: airlines.csv line 3: bad; \
             flights.csv line 1: bad; flights.csv line 2: bad; mend the rows or raise rejected_max"
        );
    }

    #[test]
    fn no_months_make_an_empty_report() {
        assert_eq!(
            aggregate(&Job::default(), vec![], vec![]).unwrap(),
            Report::default()
        );
    }
}

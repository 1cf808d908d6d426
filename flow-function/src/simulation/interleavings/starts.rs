//! How requests begin.

use std::time::Duration;

use turlough_statestore::Event;

use super::super::flows::Kind;
use super::super::trap::Does;
use super::{appends, ask, cluster, ends_well, request};

/// A2, C3: the answer to its first append is lost, and the retry finds its own request.
#[test]
fn i1_a_request_that_was_accepted_unheard_is_not_waited_for_by_its_own_driver() {
    let mut world = cluster(|_| ());
    let id = request(&world, Kind::Chain, 1);
    let is_start = |event: &Event| matches!(event, Event::Accepted(_));
    let trap = world.trap(0, Does::LoseAnswer, move |sent| sent.appends(id, is_start));
    ask(&world, 0, Kind::Chain, 1);
    world.until("the trap", |_| trap.is_sprung());
    world.run_for(Duration::from_secs(1));
    ends_well(&mut world, Kind::Chain, 1);
    assert_eq!(appends(&world, id, is_start).len(), 1);
}

//! Two keepers of one tenant.

use std::time::Duration;

use turlough_keeper::{Keeper, Options, Status};
use turlough_statestore::Why;

use crate::world::{HEARTBEAT, World, replica, status, until};

#[tokio::test]
async fn one_acts_and_the_other_takes_over_when_it_is_killed() {
    let world = World::shared();
    let first = world.keeper().await;
    let second = Keeper::start(world.state.clone(), world.options())
        .await
        .unwrap();
    second.caught_up().await;
    tokio::time::sleep(HEARTBEAT * 2).await;
    assert!(first.is_active() && !second.is_active());
    let request = world.accept().await;
    world.hint_is(&request, Why::Accepted).await;
    assert_eq!(
        status(&second, &request).await,
        Some(Status::Running),
        "it lists, too"
    );
    tokio::time::sleep(HEARTBEAT).await;
    assert_eq!(world.hint_now().await, None, "one of them acts");

    // Killed: it gives nothing back.
    let lease = world
        .state
        .replicas
        .get("keeper.acme")
        .await
        .unwrap()
        .unwrap();
    first.stop().await;
    world
        .state
        .replicas
        .put("keeper.acme", lease)
        .await
        .unwrap();
    let later = world.accept().await;
    until("the other acts", async || second.is_active().then_some(())).await;
    let mut hinted = vec![world.hint().await.request, world.hint().await.request];
    hinted.sort_unstable();
    let mut all = vec![request.id, later.id];
    all.sort_unstable();
    assert_eq!(hinted, all, "what one said the other may say again");
}

#[tokio::test]
async fn a_lease_that_is_given_back_is_taken_at_once() {
    let world = World::shared();
    let options = Options {
        heartbeat: Duration::from_secs(3),
        ..world.options()
    };
    let first = world.keeper_with(options.clone()).await;
    let options = Options {
        replica: replica(),
        ..options
    };
    let second = Keeper::start(world.state.clone(), options).await.unwrap();
    let lease = async || world.state.replicas.get("keeper.acme").await.unwrap();
    let of_first = lease().await;
    first.stop().await;
    assert!(of_first.is_some() && lease().await != of_first);
    until("the other acts", async || second.is_active().then_some(())).await;
    assert!(!first.is_active());
}

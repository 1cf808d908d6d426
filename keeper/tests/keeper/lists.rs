//! Lists, cursors, filters, deletion; over HTTP too.

use serde_json::Value as Json;
use turlough_keeper::{DeleteError, Filter, Keeper, KeeperError, Status};
use turlough_sdk::{FlowName, RequestId};
use turlough_statestore::event::Outcome;
use turlough_statestore::{Log as _, Seq};
use uuid::Uuid;

use crate::world::{World, status, summary, until};

async fn page(keeper: &Keeper, filter: &Filter) -> Vec<RequestId> {
    let found = keeper.list(filter).await.unwrap();
    found.into_iter().map(|(id, _)| id).collect()
}

#[tokio::test]
async fn lists_are_in_the_order_of_acceptance_whatever_the_ids_are() {
    let world = World::shared();
    let keeper = world.keeper().await;
    let (mut ids, mut etl) = (Vec::new(), Vec::new());
    for number in 0..50_u128 {
        // A hash says nothing of time.
        let id = RequestId::from_uuid(Uuid::from_u128(
            number.wrapping_mul(0x9E37_79B9_7F4A_7C15) << 60,
        ));
        let flow = if number % 3 == 0 { "etl" } else { "report" };
        let mut request = world.accept_as(id, flow, None).await;
        if number % 2 == 0 {
            request.claim(world.alive).await;
            request.succeed().await;
        }
        ids.insert(0, request.id);
        if number % 6 == 0 {
            etl.insert(0, request.id);
        }
    }
    let filter = Filter {
        limit: 7,
        ..Filter::default()
    };
    let walk = async |filter: Filter| {
        let (mut all, mut filter) = (Vec::<RequestId>::new(), filter);
        loop {
            let found = page(&keeper, &filter).await;
            all.extend(&found);
            filter.before = found.last().copied();
            if found.len() < filter.limit {
                return all;
            }
        }
    };
    assert_eq!(walk(filter.clone()).await, ids);
    let succeeded = Filter {
        flow: Some("etl".to_owned()),
        status: Some(Status::Succeeded),
        ..filter.clone()
    };
    assert_eq!(walk(succeeded).await, etl);
    let of_function = |function: &str| Filter {
        function: Some(function.to_owned()),
        ..filter.clone()
    };
    assert_eq!(walk(of_function("flows")).await, ids);
    assert_eq!(walk(of_function("other")).await, Vec::new());
    let unknown = Filter {
        before: Some(RequestId::from_uuid(Uuid::from_u128(5))),
        ..filter
    };
    let error = keeper.list(&unknown).await.unwrap_err();
    assert!(matches!(error, KeeperError::NoPlace(_)), "{error}");
}

#[tokio::test]
async fn a_list_goes_on_after_a_request_that_was_forgotten() {
    let world = World::shared();
    let keeper = world.keeper().await;
    let first = world.accept().await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let forgotten = RequestId::from_uuid(Uuid::now_v7());
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let _last = world.accept().await;
    let filter = Filter {
        before: Some(forgotten),
        limit: 10,
        ..Filter::default()
    };
    assert_eq!(page(&keeper, &filter).await, [first.id]);
}

#[tokio::test]
async fn children_are_listed_with_their_parent_and_versions_are_used_while_they_are_open() {
    let world = World::shared();
    let keeper = world.keeper().await;
    let parent = world.accept().await;
    let flow: FlowName = "child".parse().unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = RequestId::from_uuid(Uuid::new_v4());
        let mut child = world.accept_as(id, "child", Some(parent.id)).await;
        ids.insert(0, id);
        assert!(keeper.uses(&flow, "v1").await.unwrap());
        child.claim(world.alive).await;
        child.succeed().await;
    }
    let found = keeper.children(parent.id, 10).await.unwrap();
    assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
    assert!(!keeper.uses(&flow, "v1").await.unwrap());
    assert_eq!(keeper.children(ids[0], 10).await.unwrap(), Vec::new());
}

#[tokio::test]
async fn a_request_shows_how_it_stands_at_once() {
    let world = World::shared();
    let keeper = world.keeper().await;
    let mut request = world.accept().await;
    assert_eq!(status(&keeper, &request).await, Some(Status::Running));
    request.claim(world.alive).await;
    request.sleep_until(Some(9_999_999_999_999_999)).await;
    assert_eq!(status(&keeper, &request).await, Some(Status::Sleeping));
    request.claim(world.alive).await;
    request.fail(Some(9_999_999_999_999_999)).await;
    let failed = summary(&keeper, &request).await.unwrap();
    let error = failed.ended.as_ref().unwrap().error.as_deref();
    assert_eq!(
        (failed.status(), error),
        (Status::Failed, Some("step load: no such table"))
    );
    assert_eq!(failed.kept_until_us, Some(9_999_999_999_999_999));
    request.restart().await;
    let again = summary(&keeper, &request).await.unwrap();
    assert_eq!((again.status(), again.generation), (Status::Running, 1));
    assert_eq!((again.version.as_str(), again.kept_until_us), ("v2", None));
    request.claim(world.alive).await;
    request
        .settle(Outcome::Dead {
            message: "twice".to_owned(),
        })
        .await;
    let dead = summary(&keeper, &request).await.unwrap();
    assert_eq!((dead.status(), dead.is_open()), (Status::Dead, false));
}

struct Server(String);

impl Server {
    async fn of(keeper: &Keeper) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = keeper.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self(format!("http://{address}"))
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, Json) {
        let method = method.parse().unwrap();
        let client = reqwest::Client::new();
        let response = client
            .request(method, format!("{}{path}", self.0))
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (
            status,
            serde_json::from_str(&text).unwrap_or(Json::String(text)),
        )
    }
}

#[tokio::test]
async fn the_api_lists_and_shows_and_says_what_is_wrong() {
    let world = World::shared();
    let keeper = world.keeper().await;
    let server = Server::of(&keeper).await;
    let open = world.accept().await;
    let mut dead = world.accept().await;
    dead.claim(world.alive).await;
    dead.settle(Outcome::Dead {
        message: "twice".to_owned(),
    })
    .await;

    let (code, list) = server.ask("GET", "/requests?limit=1").await;
    assert_eq!(
        (code, &list["next"]),
        (200, &Json::from(dead.id.to_string()))
    );
    assert_eq!(list["requests"][0]["status"], "dead");
    assert_eq!(list["requests"][0]["error"], "twice");
    let (_, list) = server.ask("GET", "/dead-letters").await;
    assert_eq!(list["requests"].as_array().unwrap().len(), 1);
    assert_eq!(list["next"], Json::Null);
    let (code, row) = server.ask("GET", &format!("/requests/{}", open.id)).await;
    assert_eq!((code, &row["function"]), (200, &Json::from("flows")));
    assert!(row["deadline"].is_string(), "{row}");

    for (method, path, code, says) in [
        (
            "GET",
            "/requests?status=done".to_owned(),
            400,
            "running, sleeping",
        ),
        ("GET", "/requests?limit=0".to_owned(), 400, "1 to 1000"),
        ("GET", "/requests?colour=red".to_owned(), 400, "colour"),
        (
            "GET",
            format!("/requests?before={}", Uuid::from_u128(5)),
            400,
            "no time",
        ),
        ("GET", "/requests/x".to_owned(), 404, "no request"),
        (
            "GET",
            format!("/requests/{}", Uuid::from_u128(5)),
            404,
            "no request",
        ),
        (
            "DELETE",
            format!("/requests/{}", Uuid::from_u128(5)),
            404,
            "no request",
        ),
        ("DELETE", format!("/requests/{}", open.id), 409, "is open"),
        ("POST", "/requests".to_owned(), 405, "method"),
        ("GET", "/flows".to_owned(), 404, "no such path"),
    ] {
        let (found, problem) = server.ask(method, &path).await;
        assert_eq!(found, code, "{path}: {problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(says),
            "{path}: {problem}"
        );
    }
}

#[tokio::test]
async fn the_api_deletes_what_is_settled_and_shows_its_metrics() {
    let world = World::shared();
    let keeper = world.keeper().await;
    let server = Server::of(&keeper).await;
    let open = world.accept().await;
    let mut dead = world.accept().await;
    dead.claim(world.alive).await;
    dead.settle(Outcome::TimedOut).await;
    let (code, _) = server
        .ask("DELETE", &format!("/requests/{}", dead.id))
        .await;
    assert_eq!(code, 202);
    until("it is deleted", async || {
        status(&keeper, &dead).await.is_none().then_some(())
    })
    .await;
    assert_eq!(
        world.log.read(dead.id, Seq::START).await.unwrap(),
        Vec::new()
    );
    assert_eq!(server.ask("GET", "/_/ready").await.0, 200);
    let (_, metrics) = server.ask("GET", "/metrics").await;
    let metrics = metrics.as_str().unwrap();
    for line in [
        "turlough_keeper_active{tenant=\"acme\"} 1",
        "turlough_keeper_requests_open{tenant=\"acme\"} 1",
        "turlough_keeper_index_rows{status=\"running\",tenant=\"acme\"} 1",
        "turlough_keeper_logs_deleted_total{tenant=\"acme\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    keeper.stop().await;
    let error = keeper.delete(open.id).await.unwrap_err();
    assert!(matches!(error, DeleteError::Open(_)), "{error}");
    assert_eq!(server.ask("GET", "/_/ready").await.0, 503);
}

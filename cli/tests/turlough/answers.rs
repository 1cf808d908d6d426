//! fizz-buzz gives the right answers, one at a time and many at once, and leaves nothing behind.

use serde_json::{Value as Json, json};

use crate::harness::{Dev, eventually, fizz_buzz};

const MANY: u64 = 300;

fn expected(n: u64) -> Json {
    match (n % 3, n % 5) {
        (0, 0) => json!({ "answer": "FizzBuzz" }),
        (0, _) => json!({ "answer": "Fizz" }),
        (_, 0) => json!({ "answer": "Buzz" }),
        _ => json!({ "answer": n }),
    }
}

async fn answer(client: &reqwest::Client, url: &str, n: u64) -> Json {
    let answer = client
        .post(url)
        .json(&json!({ "n": n }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "for {n}");
    answer.json().await.unwrap()
}

#[tokio::test]
async fn every_number_up_to_thirty_has_its_answer() {
    let dev = Dev::start(&fizz_buzz(), &[]);
    let url = dev.ready()["flows"][0]["url"].as_str().unwrap();
    let client = reqwest::Client::new();
    for n in 1..=30 {
        assert_eq!(answer(&client, url, n).await, expected(n), "for {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_at_once_are_all_answered_ended_and_cleared_away() {
    // Everything goes through the store, which would hold nothing of values as small as these.
    let store = free_port();
    let settings = [
        ("TURLOUGH_INLINE_BYTES_MAX", "0"),
        ("TURLOUGH_STORE_METRICS_PORT", &*store),
    ];
    let dev = Dev::start(&fizz_buzz(), &settings);
    let url = dev.url("/function/flows/fizz-buzz");
    let client = reqwest::Client::new();
    let mut running = tokio::task::JoinSet::new();
    for n in 1..=MANY {
        let (client, url) = (client.clone(), url.clone());
        running.spawn(async move { (n, answer(&client, &url, n).await) });
    }
    let mut answered = 0;
    while let Some(ended) = running.join_next().await {
        let (n, answer) = ended.unwrap();
        assert_eq!(answer, expected(n), "for {n}");
        answered += 1;
    }
    assert_eq!(answered, MANY);

    let get = async |path: &str| client.get(dev.url(path)).send().await.unwrap();
    let requests = eventually("all requests are settled", async || {
        let list: Json = get("/function/flows/requests?limit=1000")
            .await
            .json()
            .await
            .unwrap();
        let requests = list["requests"].as_array().unwrap().clone();
        let settled = requests.iter().all(|request| request["settled"] == true);
        settled.then_some(requests)
    });
    let requests = requests.await;
    assert_eq!(requests.len() as u64, MANY);
    assert!(
        requests
            .iter()
            .all(|request| request["status"] == "succeeded")
    );

    let path = format!(
        "/function/flows/requests/{}",
        requests[0]["id"].as_str().unwrap()
    );
    let request: Json = get(&path).await.json().await.unwrap();
    assert_eq!(request["steps"][0]["data"], "store", "{request}");
    let url = format!("http://127.0.0.1:{store}/metrics");
    let metrics = client.get(url).send().await.unwrap().text().await.unwrap();
    let metric = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("no {name} in {metrics}"))
    };
    assert!(metric("turlough_store_commands_total") > 2.0 * MANY as f64);
    // What is dropped is remembered for a while, without its values.
    assert_eq!(metric("turlough_store_keys{"), 0.0);
}

/// A port that was free a moment ago.
fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

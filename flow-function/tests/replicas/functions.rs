//! Functions behind a gateway of the test's own: they answer what they are asked, a while later.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use tokio::net::TcpListener;

/// Stands for the gateway: `/function/<name>` answers with its input.
pub(crate) async fn serve() -> String {
    let router = Router::new().route("/function/{name}", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn answer(body: Bytes) -> Bytes {
    tokio::time::sleep(Duration::from_millis(150)).await;
    body
}

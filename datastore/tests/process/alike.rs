//! Commands at random, told to the store and to Redis: every reply is the same.

use redis::{Connection, Value};
use turlough_testing::Redis;

use crate::program::Store;

/// Draws numbers from a seed, so that what differs can be run again.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len() as u64) as usize]
    }

    fn key(&mut self) -> Vec<u8> {
        let kind = *self.one(&["{r1}", "{r2}", "", "{r1}deep/"]);
        format!("{kind}{}", self.roll(4)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        let len = *self.one(&[0, 1, 5, 100, 16_383, 16_384, 16_385, 40_000, 300_000]);
        let first = self.roll(251);
        (first..first + len).map(|n| (n % 251) as u8).collect()
    }

    fn place(&mut self) -> Vec<u8> {
        let place = *self.one(&[0_i64, 1, -1, 4, -5, 16_384, 39_999, -40_000, 1 << 40]);
        place.to_string().into_bytes()
    }

    fn command(&mut self) -> Vec<Vec<u8>> {
        let word = |text: &str| text.as_bytes().to_vec();
        let (key, value) = (self.key(), self.value());
        match self.roll(18) {
            0..3 => vec![word("SET"), key, value],
            3 => {
                let how = *self.one(&["NX", "XX", "GET", "KEEPTTL", "WRONG"]);
                vec![word("SET"), key, value, word(how)]
            }
            4 => vec![word("SET"), key, value, word("EX"), word("1000")],
            5 => vec![word("SETNX"), key, value],
            6..8 => vec![word("APPEND"), key, value],
            8 => vec![word("MSET"), key, value, self.key(), self.value()],
            9 => vec![word("MGET"), key, self.key(), self.key()],
            10 => vec![word("GETDEL"), key],
            11 => vec![word("GETRANGE"), key, self.place(), self.place()],
            12 => vec![word("DEL"), key, self.key()],
            13 => vec![word("EXISTS"), key, self.key()],
            14 => vec![word("PERSIST"), key],
            15 => {
                let seconds = *self.one(&["1000", "-1"]);
                vec![word("EXPIRE"), key, word(seconds)]
            }
            16 => vec![word("STRLEN"), key],
            _ => vec![word("GETSET"), key, value],
        }
    }
}

fn tell(connection: &mut Connection, words: &[Vec<u8>]) -> Result<Value, String> {
    let mut command = redis::cmd(std::str::from_utf8(&words[0]).unwrap());
    for word in &words[1..] {
        command.arg(word);
    }
    command
        .query(connection)
        .map_err(|error: redis::RedisError| error.to_string())
}

fn shown(words: &[Vec<u8>]) -> String {
    let word = |word: &Vec<u8>| match word.len() {
        0..=40 => String::from_utf8_lossy(word).into_owned(),
        len => format!("<{len} bytes>"),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn whatever_is_said_the_answer_is_that_of_redis() {
    let redis = Redis::start().await;
    let store = Store::open();
    let connect = |url: String| redis::Client::open(url).unwrap().get_connection().unwrap();
    let mut theirs = connect(redis.url());
    let mut ours = connect(format!("redis://{}", store.address()));
    for seed in 0..10 {
        let mut dice = Dice(seed);
        for turn in 0..600 {
            let words = dice.command();
            let (expected, found) = (tell(&mut theirs, &words), tell(&mut ours, &words));
            assert!(
                found == expected,
                "seed {seed}, turn {turn}: {}",
                shown(&words)
            );
        }
        for told in [&mut theirs, &mut ours] {
            tell(told, &[b"FLUSHDB".to_vec()]).unwrap();
        }
    }
}

#[test]
fn clients_that_work_side_by_side_each_find_what_they_put() {
    let store = Store::open();
    let address = store.address().to_owned();
    let threads: Vec<_> = (0..8_u64)
        .map(|client| {
            let url = format!("redis://{address}");
            std::thread::spawn(move || {
                let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
                let mut dice = Dice(client);
                for round in 0..60 {
                    let bucket = format!("{{r{client}-{round}}}");
                    let mut held = 0;
                    for n in 0..10 {
                        let (key, value) = (format!("{bucket}{n}").into_bytes(), dice.value());
                        held += value.len() as i64 + 1 + 64;
                        let put = [b"SET".to_vec(), key.clone(), value.clone()];
                        assert_eq!(tell(&mut connection, &put), Ok(Value::Okay));
                        let read = tell(&mut connection, &[b"GET".to_vec(), key]);
                        assert!(read == Ok(Value::BulkString(value)));
                    }
                    let name = bucket.trim_matches(['{', '}']).as_bytes().to_vec();
                    let dropped = [b"BUCKET.DROP".to_vec(), name, b"1".to_vec()];
                    let Ok(Value::Array(told)) = tell(&mut connection, &dropped) else {
                        panic!("no account of what was dropped");
                    };
                    assert_eq!((&told[1], &told[3]), (&Value::Int(10), &Value::Int(held)));
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert_eq!(store.metric("turlough_store_keys{tenant=\"default\"}"), 0.0);
    assert_eq!(store.metric("turlough_store_pool_used_bytes "), 0.0);
}

use super::*;

/// RFC 9421, B.1.4: keys.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
";
const SHARED: &[u8] = b"0123456789abcdef0123456789abcdef\n";

const MESSAGE: [(&str, &str); 4] = [
    ("@method", "POST"),
    ("@path", "/function/flows/order"),
    ("@query", "?day=1"),
    (
        "content-digest",
        "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    ),
];

fn value(name: &str) -> Option<String> {
    let found = MESSAGE.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| (*value).to_owned())
}

fn pairs() -> [(SigningKey, VerifyingKey); 2] {
    [(PRIVATE.as_bytes(), PUBLIC.as_bytes()), (SHARED, SHARED)].map(|(signs, checks)| {
        let signs = SigningKey::read("me", signs).unwrap();
        (signs, VerifyingKey::read(checks).unwrap())
    })
}

fn signed(key: &SigningKey) -> Signature {
    let headers = key.sign(&MESSAGE, (1_000, Some(2_000)), "n-1").unwrap();
    Signature::parse(&headers.input, &headers.signature).unwrap()
}

#[test]
fn what_was_signed_holds_and_says_what_it_covers() {
    for (signs, checks) in pairs() {
        let signature = signed(&signs);
        signature.verify(&checks, value).unwrap();
        assert_eq!(
            (signature.created_s, signature.expires_s),
            (1_000, Some(2_000))
        );
        assert_eq!((&*signature.key_id, &*signature.nonce), ("me", "n-1"));
        assert!(MESSAGE.iter().all(|(name, _)| signature.covers(name)));
        assert!(!signature.covers("content-type"));
    }
}

#[test]
fn whatever_is_altered_is_found() {
    for (signs, checks) in pairs() {
        let headers = signs.sign(&MESSAGE, (1_000, None), "n-1").unwrap();
        for (altered, _) in MESSAGE {
            let signature = signed(&signs);
            let other = |name: &str| {
                value(name).map(|text| if name == altered { text + "x" } else { text })
            };
            assert_eq!(
                signature.verify(&checks, other),
                Err(SignatureError::Wrong),
                "{altered}"
            );
            let without = |name: &str| value(name).filter(|_| name != altered);
            let missing = SignatureError::Missing {
                name: altered.to_owned(),
            };
            assert_eq!(signature.verify(&checks, without), Err(missing));
        }
        // Any parameter, the order of the components, the key and its algorithm.
        for (from, to) in [
            ("created=1000", "created=1001"),
            ("n-1", "n-2"),
            ("\"me\"", "\"you\""),
            ("\"@method\" \"@path\"", "\"@path\" \"@method\""),
            (";alg=", ";expires=9999;alg="),
        ] {
            let input = headers.input.replace(from, to);
            assert_ne!(input, headers.input, "{from}");
            let signature = Signature::parse(&input, &headers.signature).unwrap();
            assert_eq!(
                signature.verify(&checks, value),
                Err(SignatureError::Wrong),
                "{to}"
            );
        }
    }
    let [(one, checks_one), (two, checks_two)] = pairs();
    assert_eq!(
        signed(&one).verify(&checks_two, value),
        Err(SignatureError::Wrong)
    );
    assert_eq!(
        signed(&two).verify(&checks_one, value),
        Err(SignatureError::Wrong)
    );
}

#[test]
fn a_pair_signs_and_checks_as_the_rfc_shows() {
    let base = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@method\": POST\n\"@path\": /foo\n\"@authority\": example.com\n\"content-type\": application/json\n\"content-length\": 18\n\"@signature-params\": (\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\");created=1618884473;keyid=\"test-key-ed25519\"";
    let signature =
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==";
    let key = SigningKey::read("test-key-ed25519", PRIVATE.as_bytes()).unwrap();
    assert_eq!(STANDARD.encode(key.signature(base.as_bytes())), signature);
    let key = VerifyingKey::read(PUBLIC.as_bytes()).unwrap();
    assert!(key.verify(base.as_bytes(), &STANDARD.decode(signature).unwrap()));
}

#[test]
fn parameters_are_signed_in_the_order_in_which_they_came() {
    let (signs, checks) = pairs().into_iter().next().unwrap();
    let params =
        "(\"@path\" \"@method\");keyid=\"me\";alg=\"ed25519\";tag=\"x\";nonce=\"n\";created=7";
    let base = format!(
        "\"@path\": /function/flows/order\n\"@method\": POST\n\"@signature-params\": {params}"
    );
    let bytes = STANDARD.encode(signs.signature(base.as_bytes()));
    // Written with more space than it is signed with.
    let input = format!("sig1={}", params.replace("\" \"", "\"   \""));
    let signature = Signature::parse(&input, &format!("sig1=:{bytes}:")).unwrap();
    signature.verify(&checks, value).unwrap();
}

#[test]
fn what_is_no_signature_is_refused_with_its_reason() {
    let bytes = "a=:AAAA:";
    let good = "a=(\"@path\");created=1;nonce=\"n\";keyid=\"k\"";
    Signature::parse(good, bytes).unwrap();
    for (input, signature, reason) in [
        ("", bytes, "has 0 signatures"),
        ("a=(\"@path\", b=()", bytes, "cannot be read"),
        ("a=1", bytes, "no list of components"),
        (
            &format!("{good}, b=()"),
            bytes,
            "has 2 signatures; send one",
        ),
        (good, "b=:AAAA:", "has no \"a\""),
        (good, "a=\"AAAA\"", "no bytes"),
        (good, "a=:AAAA:, b=:AAAA:", "has 2 signatures"),
        ("a=(\"@path\");nonce=\"n\";keyid=\"k\"", bytes, "no created"),
        (
            "a=(\"@path\");created=-1;nonce=\"n\";keyid=\"k\"",
            bytes,
            "no created",
        ),
        (
            "a=(\"@path\");created=1;expires=x;nonce=\"n\";keyid=\"k\"",
            bytes,
            "no expires",
        ),
        ("a=(\"@path\");created=1;keyid=\"k\"", bytes, "no nonce"),
        (
            "a=(\"@path\");created=1;nonce=\"\";keyid=\"k\"",
            bytes,
            "no nonce",
        ),
        ("a=(\"@path\");created=1;nonce=\"n\"", bytes, "no keyid"),
        (
            "a=(path);created=1;nonce=\"n\";keyid=\"k\"",
            bytes,
            "no text",
        ),
        (
            "a=(\"@query-param\";name=\"x\");created=1;nonce=\"n\";keyid=\"k\"",
            bytes,
            "has parameters",
        ),
        (
            "a=(\"@path\" \"@path\");created=1;nonce=\"n\";keyid=\"k\"",
            bytes,
            "is there twice",
        ),
    ] {
        let error = Signature::parse(input, signature).unwrap_err().to_string();
        assert!(error.contains(reason), "{input} {signature}: {error}");
    }
    let many: String = (0..65).map(|n| format!("\"h{n}\" ")).collect();
    let input = format!("a=({});created=1;nonce=\"n\";keyid=\"k\"", many.trim());
    let error = Signature::parse(&input, bytes).unwrap_err().to_string();
    assert!(error.contains("covers 65 components, limit 64"), "{error}");
}

#[test]
fn a_body_is_checked_by_every_digest_that_is_known() {
    let digest = content_digest(b"hello");
    check_content_digest(&digest, b"hello").unwrap();
    let with_others = format!("crc=:AAAA:, {digest}");
    check_content_digest(&with_others, b"hello").unwrap();
    assert_eq!(
        check_content_digest(&digest, b"hallo"),
        Err(SignatureError::Body)
    );
    let one_wrong = format!("{digest}, sha-512=:AAAA:");
    assert_eq!(
        check_content_digest(&one_wrong, b"hello"),
        Err(SignatureError::Body)
    );
    for unknown in ["", "md5=:AAAA:", "sha-256=\"x\"", "sha-256"] {
        let error = check_content_digest(unknown, b"hello").unwrap_err();
        assert!(
            matches!(error, SignatureError::Malformed { .. }),
            "{unknown}: {error}"
        );
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let short = KeyError::Short { found: 31 };
    assert_eq!(VerifyingKey::read(&[b'x'; 31]).unwrap_err(), short);
    assert_eq!(
        SigningKey::read("k", b" 0123456789012345678901234567890 \n").unwrap_err(),
        short
    );
    for text in [
        PRIVATE,
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "-----BEGIN ",
    ] {
        assert!(
            matches!(
                VerifyingKey::read(text.as_bytes()),
                Err(KeyError::Pem { .. })
            ),
            "{text}"
        );
    }
    for text in [
        PUBLIC,
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        assert!(
            matches!(
                SigningKey::read("k", text.as_bytes()),
                Err(KeyError::Pem { .. })
            ),
            "{text}"
        );
    }
    let (signs, _) = pairs().into_iter().next().unwrap();
    assert!(!format!("{signs:?}").contains("n4Ni"), "{signs:?}");
    assert!(signs.sign(&[("é", "x")], (1, None), "n").is_err());
    assert!(signs.sign(&MESSAGE, (u64::MAX, None), "n").is_err());
}

//! Keys as drivers write them: `{<request>}name`, whole.

use turlough_sdk::RequestId;

use super::VALUE_BYTES_MAX;
use super::error::PutError;
use crate::store::KEY_BYTES_MAX;

/// The name in a key, if the key is one of a request.
pub(super) fn name_of(request: RequestId, key: &str) -> Option<&str> {
    if key.len() > KEY_BYTES_MAX {
        return None;
    }
    let rest = key
        .strip_prefix('{')?
        .strip_prefix(request.to_string().as_str())?;
    rest.strip_prefix('}').filter(|name| !name.is_empty())
}

/// The name in a key that a value of so many bytes is put under.
///
/// # Errors
/// A key that is not one of the request's, or too long; a value that is too large for every store.
pub(super) fn checked(request: RequestId, key: &str, size: usize) -> Result<&str, PutError> {
    let invalid = |reason| PutError::Invalid {
        key: key.to_owned(),
        size: size as u64,
        reason,
    };
    let name = name_of(request, key).ok_or_else(|| {
        invalid(format!(
            "key is {} bytes; write {{{request}}}name, of {KEY_BYTES_MAX} bytes at most",
            key.len()
        ))
    })?;
    if size > VALUE_BYTES_MAX {
        return Err(invalid(format!(
            "value is {size} bytes, limit {VALUE_BYTES_MAX}; split it"
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_its_request_or_none() {
        let request = RequestId::from_uuid(uuid::Uuid::from_u128(7));
        let name = |key: &str| name_of(request, key).map(str::to_owned);
        assert_eq!(
            name(&format!("{{{request}}}1/a[3]")),
            Some("1/a[3]".to_owned())
        );
        assert_eq!(name(&format!("{{{request}}}")), None);
        assert_eq!(name(&format!("{request}1/a")), None);
        assert_eq!(name("{other}1/a"), None);
        assert_eq!(name(&format!("{{{request}}}{}", "a".repeat(500))), None);
        let key = format!("{{{request}}}a");
        assert!(checked(request, &key, VALUE_BYTES_MAX).is_ok());
        let error = checked(request, &key, VALUE_BYTES_MAX + 1).unwrap_err();
        assert!(error.to_string().contains("split it"), "{error}");
    }
}

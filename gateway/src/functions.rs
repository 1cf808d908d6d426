//! The registry: which functions exist, where they answer, and their counts.
//!
//! Read on every call and written seldom, so readers take a snapshot without a
//! lock and writers copy the map. It neither starts nor calls anything.

mod endpoint;
mod function;
mod name;
mod scaling;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::metrics::Metrics;
use crate::usage::Account;

pub(crate) use endpoint::{Endpoint, InFlight, Served};
pub(crate) use function::{Busy, Function};
pub use function::{FunctionSpec, Resources};
pub(crate) use name::check_name;
pub use name::{DEFAULT_NAMESPACE, FunctionName, NameError};
pub use scaling::SettingError;
pub(crate) use scaling::duration;

/// A cheap handle to the functions of one gateway.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

/// Why a function could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("function `{name}` is already registered; remove it or choose another name")]
    Duplicate { name: FunctionName },
    #[error(
        "function `{name}` cannot answer at `{address}`; write http://host:port without a path"
    )]
    Address { name: FunctionName, address: String },
    #[error(transparent)]
    Setting(#[from] SettingError),
}

#[derive(Debug)]
struct Inner {
    functions: ArcSwap<Functions>,
    /// Serialises writers; readers never take it.
    writer: Mutex<()>,
    metrics: Metrics,
}

/// By `name.namespace`, and by `name` alone in the default namespace. Names hold
/// no dot, so both forms are exact keys and a lookup neither splits nor allocates.
type Functions = HashMap<Box<str>, Arc<Function>>;

impl Registry {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            inner: Arc::new(Inner {
                functions: ArcSwap::from_pointee(Functions::new()),
                writer: Mutex::new(()),
                metrics,
            }),
        }
    }

    /// Registers a function that someone else runs, at `address` (`http://host:port`).
    /// It counts as one replica that is always available.
    ///
    /// # Errors
    /// [`RegistryError::Address`] for anything but a plain HTTP origin, and
    /// [`RegistryError::Duplicate`] if the name is taken.
    pub fn add_static(&self, spec: FunctionSpec, address: &str) -> Result<(), RegistryError> {
        let Some(endpoint) = Endpoint::parse(address) else {
            return Err(RegistryError::Address {
                name: spec.name,
                address: address.to_owned(),
            });
        };
        self.add(spec, 1)?.attach(Arc::new(endpoint));
        Ok(())
    }

    /// Takes a function out; calls in flight end undisturbed. False if it was unknown.
    pub fn remove(&self, name: &FunctionName) -> bool {
        let _writer = self.writer();
        let mut functions = Functions::clone(&self.inner.functions.load());
        let Some(removed) = functions.remove(name.qualified()) else {
            return false;
        };
        if name.namespace() == DEFAULT_NAMESPACE {
            functions.remove(name.name());
        }
        self.inner.functions.store(Arc::new(functions));
        self.inner.metrics.forget(name.qualified());
        removed.removed();
        true
    }

    /// Registers a function without endpoints; its owner attaches them.
    pub(crate) fn add(
        &self,
        spec: FunctionSpec,
        replicas: u32,
    ) -> Result<Arc<Function>, RegistryError> {
        let _writer = self.writer();
        let mut functions = Functions::clone(&self.inner.functions.load());
        let name = spec.name.clone();
        if functions.contains_key(name.qualified()) {
            return Err(RegistryError::Duplicate { name });
        }
        let metrics = self.inner.metrics.function(name.qualified());
        let account = Account::new(self.inner.metrics.clone(), name.qualified());
        let function = Arc::new(Function::new(spec, replicas, metrics, account)?);
        functions.insert(name.qualified().into(), Arc::clone(&function));
        if name.namespace() == DEFAULT_NAMESPACE {
            functions.insert(name.name().into(), Arc::clone(&function));
        }
        self.inner.functions.store(Arc::new(functions));
        Ok(function)
    }

    /// Finds `name` or `name.namespace`, as it stands in a path.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Function>> {
        self.inner.functions.load().get(name).cloned()
    }

    /// All functions of all namespaces, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Function>> {
        let functions = self.inner.functions.load();
        let whole = functions.iter();
        let whole = whole.filter(|(key, function)| key.as_ref() == function.name().qualified());
        whole.map(|(_, function)| Arc::clone(function)).collect()
    }

    /// All functions of a namespace, by name.
    pub(crate) fn list(&self, namespace: &str) -> Vec<Arc<Function>> {
        let mut found = self.all();
        found.retain(|function| function.name().namespace() == namespace);
        found.sort_by(|a, b| a.name().cmp(b.name()));
        found
    }

    fn writer(&self) -> std::sync::MutexGuard<'_, ()> {
        // It guards no data of its own, so a writer that panicked left nothing half done.
        self.inner
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry_with(names: &[&str]) -> Registry {
        let registry = Registry::new(Metrics::new());
        for name in names {
            let spec = FunctionSpec::new(FunctionName::parse(name).unwrap());
            registry
                .add_static(spec, "http://127.0.0.1:9")
                .unwrap_or_else(|error| panic!("{error}"));
        }
        registry
    }

    #[test]
    fn default_namespace_may_be_left_out() {
        let registry = registry_with(&["echo", "echo.other"]);
        let short = registry.find("echo").unwrap();
        assert_eq!(short.name().qualified(), "echo.openfaas-fn");
        assert!(Arc::ptr_eq(
            &short,
            &registry.find("echo.openfaas-fn").unwrap()
        ));
        let other = registry.find("echo.other").unwrap();
        assert_eq!(other.name().namespace(), "other");
        assert!(registry.find("echo.third").is_none());
    }

    #[test]
    fn list_names_each_function_of_one_namespace_once() {
        let registry = registry_with(&["b", "a", "c.other"]);
        let names = |namespace| -> Vec<String> {
            let functions = registry.list(namespace);
            functions.iter().map(|f| f.name().to_string()).collect()
        };
        assert_eq!(names(DEFAULT_NAMESPACE), ["a", "b"]);
        assert_eq!(names("other"), ["c.other"]);
    }

    #[test]
    fn same_name_twice_is_refused() {
        let registry = registry_with(&["echo"]);
        let spec = FunctionSpec::new(FunctionName::parse("echo.openfaas-fn").unwrap());
        let error = registry.add_static(spec, "http://127.0.0.1:9").unwrap_err();
        assert!(error.to_string().contains("`echo` is already registered"));
    }

    #[test]
    fn removed_function_is_gone_under_both_names() {
        let registry = registry_with(&["echo"]);
        let name = FunctionName::parse("echo").unwrap();
        assert!(registry.remove(&name));
        assert!(registry.find("echo").is_none() && registry.find("echo.openfaas-fn").is_none());
        assert!(!registry.remove(&name));
    }

    fn with_replicas(count: u16, max_in_flight: &str) -> (Arc<Function>, Vec<Arc<Endpoint>>) {
        let mut spec = FunctionSpec::new(FunctionName::parse("echo").unwrap());
        let max = ("max_inflight".to_owned(), max_in_flight.to_owned());
        spec.env_vars.extend([max]);
        let function = registry_with(&[]).add(spec, u32::from(count)).unwrap();
        let endpoint =
            |port| Endpoint::local(([127, 0, 0, 1], port).into(), Served::Elsewhere).unwrap();
        let endpoints: Vec<_> = (1..=count).map(|port| Arc::new(endpoint(port))).collect();
        endpoints
            .iter()
            .for_each(|it| function.attach(Arc::clone(it)));
        (function, endpoints)
    }

    #[test]
    fn replica_that_was_taken_out_takes_no_call_of_whoever_still_knows_it() {
        let (function, endpoints) = with_replicas(2, "1");
        let held = endpoints[0].take_on(1).unwrap();
        function.detach(&endpoints[0]);
        function.detach(&endpoints[1]);
        assert!(endpoints[1].take_on(1).is_none());
        assert_eq!(endpoints[0].in_flight(), 1);
        drop(held);
        assert_eq!(endpoints[0].in_flight(), 0);
    }

    #[test]
    fn call_finds_the_replica_that_has_room() {
        let (function, _) = with_replicas(3, "1");
        let calls = || {
            (0..100_000)
                .filter(|_| function.endpoint().is_err())
                .count()
        };
        let refused: usize = std::thread::scope(|scope| {
            let callers = [scope.spawn(calls), scope.spawn(calls)];
            callers.map(|caller| caller.join().unwrap()).iter().sum()
        });
        assert_eq!(refused, 0);
    }

    #[test]
    fn function_with_a_new_replica_is_not_unused() {
        let (function, _) = with_replicas(1, "1");
        let waited = std::time::Duration::from_millis(200);
        for change in [
            |it: &Function| it.scale(1),
            |it: &Function| {
                let endpoint = Endpoint::parse("http://127.0.0.1:9").unwrap();
                it.attach(Arc::new(endpoint));
            },
        ] {
            std::thread::sleep(waited);
            change(&function);
            assert!(function.unused_for().unwrap() < waited);
        }
    }

    #[test]
    fn address_that_is_not_an_http_origin_is_refused() {
        let registry = registry_with(&[]);
        for address in ["127.0.0.1:80", "https://a:1", "http://a:1/path", "http://"] {
            let spec = FunctionSpec::new(FunctionName::parse("echo").unwrap());
            let error = registry.add_static(spec, address).unwrap_err();
            assert!(
                error.to_string().contains("write http://host:port"),
                "{address}: {error}"
            );
        }
    }
}

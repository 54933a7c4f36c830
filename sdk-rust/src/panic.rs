//! Panics of handlers: caught, with the place where they happened.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};

use trunkline_contract::error::{Code, Error};

use crate::outcome::Failure;

thread_local! {
    static IS_HANDLING: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics of handlers remember their place; the hook that was set before still runs.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if IS_HANDLING.get() {
                let place = info.location().map(ToString::to_string);
                PLACE.with_borrow_mut(|slot| *slot = place);
            }
            before(info);
        }));
    });
}

/// Runs user code; a panic in it becomes a failure.
pub(crate) fn guarded<R>(run: impl FnOnce() -> R) -> Result<R, Failure> {
    let was = IS_HANDLING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    IS_HANDLING.set(was);
    result.map_err(|panic| failure(&*panic))
}

fn failure(panic: &(dyn Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is no text");
    let place = PLACE.with_borrow_mut(Option::take);
    Failure::located(
        Error::new(Code::Internal, format!("the handler panicked: {text}")),
        place,
    )
}

/// A future whose panics become failures.
pub(crate) struct Guarded<F>(pub(crate) Pin<Box<F>>)
where
    F: Future + ?Sized;

impl<F: Future + ?Sized> Future for Guarded<F> {
    type Output = Result<F::Output, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match guarded(|| self.0.as_mut().poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(failure) => Poll::Ready(Err(failure)),
        }
    }
}

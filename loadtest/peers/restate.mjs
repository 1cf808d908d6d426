// The peer on Restate: a handler that calls a separate no-op service, durably, N times in a row or
// for each item at once. The answers are those of `turlough-loadtest --url`.

// Node 20 lacks it, and the SDK needs it.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((res, rej) => { resolve = res; reject = rej; });
  return { promise, resolve, reject };
};

const restate = await import("@restatedev/restate-sdk");

const noop = restate.service({
  name: "Noop",
  handlers: { next: async (_context, n) => n + 1 },
});

const peer = restate.service({
  name: "Peer",
  handlers: {
    chain: async (context, { steps, start }) => {
      let n = start;
      for (let step = 0; step < steps; step++) n = await context.serviceClient(noop).next(n);
      return n;
    },
    // The cheaper kind of step, in the handler itself: a journal entry, and no call.
    run: async (context, { steps, start }) => {
      let n = start;
      for (let step = 0; step < steps; step++) n = await context.run(() => n + 1);
      return n;
    },
    fanout: async (context, { items }) =>
      restate.RestatePromise.all(items.map((n) => context.serviceClient(noop).next(n))),
  },
});

restate.serve({ services: [noop, peer], port: Number(process.env.port) });

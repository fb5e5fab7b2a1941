/** No tunnel: the caller talks to the target itself, over the delayed line if there is one. */
import { lineTo } from "./line.ts";
import { makeRoute, type Route, type RouteContext } from "./route.ts";

/** Starts the direct way. */
export async function startDirect(context: RouteContext): Promise<Route> {
  await using stack = new AsyncDisposableStack();
  const { target } = context;
  const plainPort = await lineTo(target.plainPort, context, stack);
  const tlsPort = await lineTo(target.tlsPort, context, stack);
  return makeRoute(stack, [], {
    url: (kind, path) =>
      kind === "tls"
        ? `https://127.0.0.1:${tlsPort}${path}`
        : `http://127.0.0.1:${plainPort}${path}`,
    processes: () => [],
  });
}

/** Timers of a relay in the test's own process. */
import type { Relay } from "../../lib/relay/relay.ts";

/**
 * Stops the timers of a relay that has drained. They would stop by themselves a little later, when
 * they find that no request waits.
 */
export function stopTimers({ forwardLimits, responseTimeouts, peers }: Relay): void {
  const ofPeers = peers ? [peers.parts.acceptances, peers.parts.repeatableAcceptances] : [];
  const all = [responseTimeouts.of("any"), forwardLimits.transfers, ...ofPeers];
  for (const deadlines of all) deadlines.check();
}

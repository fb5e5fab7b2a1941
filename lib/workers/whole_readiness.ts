/** Whether a relay of several workers is ready: only if each of them runs. */
import { type Readiness, type ReadinessFacts, readinessOf } from "../relay/readiness.ts";

/**
 * @param workers What each worker says; undefined for one that does not answer
 * @param excludesAgents Whether a relay without an agent may be ready
 */
export function wholeReadiness(
  workers: readonly (ReadinessFacts | undefined)[],
  excludesAgents: boolean,
): Readiness {
  const known = workers.filter((facts) => facts !== undefined);
  const silent = workers.indexOf(undefined);
  if (silent !== -1 && !known.some(({ isStopping }) => isStopping)) {
    return { status: 503, text: `worker ${silent + 1} of ${workers.length} does not run\n` };
  }
  return readinessOf(together(known), excludesAgents);
}

function together(workers: readonly ReadinessFacts[]): ReadinessFacts {
  const directories = workers.flatMap(({ directory }) => directory ? [directory] : []);
  return {
    isStopping: workers.length === 0 || workers.some(({ isStopping }) => isStopping),
    directory: directories.length === 0 ? undefined : {
      isSettled: directories.every(({ isSettled }) => isSettled),
      isUp: directories.every(({ isUp }) => isUp),
    },
    agents: workers.reduce((sum, { agents }) => sum + agents, 0),
    hasServingAgent: workers.some(({ hasServingAgent }) => hasServingAgent),
  };
}

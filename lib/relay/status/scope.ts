/** What of the picture somebody may see. */
import type { Status, StatusScope } from "../../domain/status.ts";

/** All of it. */
export const everything: StatusScope = { seesCluster: () => true, seesService: () => true };

/** Leaves out what is not in scope. */
export function scoped(status: Status, scope: StatusScope): Status {
  if (scope === everything) return status;
  const seesCluster = ({ cluster }: { readonly cluster: string }): boolean =>
    scope.seesCluster(cluster);
  const clusters = status.clusters.filter(({ id }) => scope.seesCluster(id));
  return {
    ...status,
    // Faults of the configuration name others' entries, and certificates others' hosts.
    ...{ certificates: [], reloads: [], limitHits: [] },
    clusters,
    services: status.services.filter((service) => scope.seesService(service)),
    streams: status.streams.filter(seesCluster),
    requests: status.requests.filter(seesCluster),
  };
}

/** What the client counts; the program that uses it says where. */

/** Counters of requests, watches and queues. */
export interface KubeMetrics {
  /** A request was answered; `code` is the status, or `error` when there was no answer. */
  requested(verb: string, resource: string, code: string): void;
  /** A collection was listed anew. */
  listed(resource: string): void;
  /** A watch ended: in order, by silence, as expired, or by an error. */
  watchEnded(resource: string, why: "closed" | "silent" | "expired" | "error"): void;
}

/** Counts nothing. */
export const noKubeMetrics: KubeMetrics = {
  requested() {},
  listed() {},
  watchEnded() {},
};

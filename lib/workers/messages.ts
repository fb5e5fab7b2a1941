/** What a parent process and its workers ask each other for. */
import type { AdminEvent } from "../admin/event_log.ts";
import type { AgentObject } from "../admin/other_agents.ts";
import type { Readiness, ReadinessFacts } from "../relay/readiness.ts";

/** What a worker is told before it begins. It goes over the pipe alone, for it has secrets. */
export interface Welcome {
  /** Counts from 1. */
  readonly worker: number;
  readonly workers: number;
  /** What workers show to each other. Secrets. */
  readonly tokens: readonly string[];
  /** The key that seals people's cookies unless there is a file of them, in base64. A secret. */
  readonly sessionKey: string;
  /** The key that signs who callers are unless there is a file of them. A secret. */
  readonly assertionKey: JsonWebKey;
  /** Ports that the first worker was given in place of 0, by option or service. */
  readonly ports: Readonly<Record<string, number>>;
  /** Whether standard error, which the parent writes to, is a terminal. */
  readonly isTerminal: boolean;
}

/** A worker as the others find it. */
export interface WorkerAddress {
  /** Names its relay among relays. */
  readonly relay: string;
  /** Origin at which it takes what other workers forward. */
  readonly url: string;
}

/** A change of an entry; without a text it is a deletion. */
export interface TextChange {
  readonly kind: string;
  readonly name: string;
  readonly text?: string;
}

/** All entries of the admin API, each as `[kind, text]`. */
export interface EntryTexts {
  readonly revision: number;
  readonly entries: readonly (readonly [kind: string, text: string])[];
}

/** What became of changes; `failed` has the indices of those that could not be stored, and why. */
export type CommitReply =
  | { readonly kind: "stale" }
  | {
    readonly kind: "done";
    readonly revision: number;
    readonly failed: readonly (readonly [index: number, reason: string])[];
  };

/** What workers ask their parent for. */
export type ParentCalls = {
  /** A command of Redis', to the store in the parent. */
  store(command: readonly string[]): unknown;
  loadEntries(nothing: null): EntryTexts;
  commitEntries(commit: {
    readonly revision: number;
    readonly changes: readonly TextChange[];
  }): CommitReply | Promise<CommitReply>;
  /** All workers that listen. */
  peers(nothing: null): readonly WorkerAddress[];
  readiness(asked: { readonly excludesAgents: boolean }): Promise<Readiness>;
  /** The metrics of all workers, in Prometheus' text format. */
  metrics(nothing: null): Promise<string>;
  /** Writes whole lines to standard output. @returns once it has taken them */
  writeOutput(text: string): Promise<void>;
  /** All listeners are bound. */
  listening(
    bound: WorkerAddress & {
      readonly ports: Readonly<Record<string, number>>;
    },
  ): void;
  /** The port that others of this name have in place of 0; 0 for the first one, which says what it got. */
  claimPort(name: string): Promise<number>;
  claimedPort(bound: { readonly name: string; readonly port: number }): void;
  /** Agents have come or gone at a worker, for the one that has the admin API. */
  agents(event: AdminEvent): void;
  /** No request is open here while all stop; the answer comes once that is so everywhere. */
  idle(nothing: null): Promise<void>;
};

/** What a parent asks its workers for. */
export type WorkerCalls = {
  welcome(welcome: Welcome): void;
  ping(nothing: null): void;
  facts(nothing: null): ReadinessFacts;
  metrics(nothing: null): Promise<string>;
  /** Another worker has changed the entries. @returns once they are in use */
  entriesChanged(nothing: null): Promise<void>;
  /** Another worker has written to what all of them follow. @returns once this one knows it */
  storeChanged(nothing: null): Promise<void>;
  /** The sessions of this worker's agents. */
  ownAgents(nothing: null): readonly AgentObject[];
  /** What has happened at another worker, or all that it has now. */
  otherAgents(told: {
    readonly worker: number;
    readonly event?: AdminEvent;
    readonly all?: readonly AgentObject[];
  }): void;
  stop(signal: "SIGINT" | "SIGTERM"): void;
  /** Reopens the audit log, whose file was renamed, as SIGHUP does. */
  reopenAudit(nothing: null): void;
};

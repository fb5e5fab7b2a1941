/** What the status page shows besides the relays' own picture. */
import type { Status } from "../../../domain/status.ts";
import type { ListRequest } from "../pager.tsx";

/** Somebody's session, as the page lists it. */
export interface SessionRow {
  readonly id: string;
  readonly user: string;
  readonly provider: string;
  /** The services' hosts that it was used at. */
  readonly hosts: readonly string[];
  readonly sinceMs: number;
  readonly lastUsedMs: number;
  readonly expiresMs: number;
}

/** People's sessions; `isComplete` is false where there are more. */
export interface SessionRows {
  readonly sessions: readonly SessionRow[];
  readonly isComplete: boolean;
}

/** One measurement of the relay that answers. */
export interface Sample {
  readonly atMs: number;
  readonly agents: number;
  readonly openStreams: number;
  /** Bytes per second in both directions together. */
  readonly bytesPerSecond: number;
}

/** The lists that have pages of their own below `/status/`. */
export const sections = ["clusters", "services", "streams", "sessions", "requests"] as const;

/** One of {@link sections}. */
export type Section = (typeof sections)[number];

/** What somebody has asked for. */
export interface StatusQuery extends ListRequest {
  /** Undefined for the page with everything. */
  readonly section: Section | undefined;
  /** A column's name; `-` in front for descending order. */
  readonly sort: string;
}

/** All that the page is made of. */
export interface StatusModel {
  readonly status: Status;
  /** Undefined for those who may not see them, and where nobody signs in. */
  readonly people: SessionRows | undefined;
  /** The oldest first. */
  readonly history: readonly Sample[];
  readonly query: StatusQuery;
  /** Whether it is the whole picture; who sees a part of it is told nothing of what is all's. */
  readonly isWhole: boolean;
  /** Whether the one who asks may end things. */
  readonly mayAct: boolean;
}

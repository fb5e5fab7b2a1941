/** What of the picture an operator should look at first. */
import type { ClusterStatus, ServiceStatus, Status } from "../../../domain/status.ts";
import { publicPolicy } from "../../../domain/policy.ts";
import { counted } from "../bytes.ts";
import { duration } from "../time.tsx";

/** One thing to look at. */
export interface Finding {
  readonly level: "bad" | "warn";
  readonly text: string;
  /** Where the page says more. */
  readonly href?: string;
}

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
/** How long before its end a certificate should have been renewed. */
const renewalMs = 14 * dayMs;
/** How long a limit that was hit is shown. */
const limitNewsMs = hourMs;
/** Names in one sentence. */
const maxNames = 3;

/** What is wrong, then what may be. */
export function findingsOf(status: Status): Finding[] {
  const findings = [
    ...relayFindings(status),
    ...reloadFindings(status),
    ...certificateFindings(status),
    ...clusterFindings(status.clusters),
    ...serviceFindings(status.services),
    ...limitFindings(status),
  ];
  const isBad = ({ level }: Finding) => level === "bad";
  return [...findings.filter(isBad), ...findings.filter((finding) => !isBad(finding))];
}

function* relayFindings({ relays }: Status): Generator<Finding> {
  const href = "#relays";
  for (const { id, fault, isDirectoryUp, isStopping } of relays) {
    const name = `Relay ${shortId(id)}`;
    if (fault !== undefined) {
      yield { level: "bad", text: `${name} does not answer: ${fault}`, href };
    }
    if (isDirectoryUp === false) {
      yield { level: "bad", text: `${name} cannot reach the directory`, href };
    }
    if (isStopping) yield { level: "warn", text: `${name} is shutting down`, href };
  }
}

function* reloadFindings({ reloads }: Status): Generator<Finding> {
  for (const { source, result, reason } of reloads) {
    if (result !== "refused") continue;
    const why = reason === undefined ? "" : `: ${reason}`;
    yield {
      level: "bad",
      text: `The last change of ${source} was refused, the one before is in force${why}`,
      href: "#reloads",
    };
  }
}

function* certificateFindings({ certificates, atMs }: Status): Generator<Finding> {
  for (const { option, notAfterMs } of certificates) {
    const leftMs = notAfterMs - atMs;
    const href = "#certificates";
    if (leftMs <= 0) {
      yield { level: "bad", text: `The certificate of ${option} has expired`, href };
    } else if (leftMs < renewalMs) {
      yield {
        level: "warn",
        text: `The certificate of ${option} expires in ${duration(leftMs)}`,
        href,
      };
    }
  }
}

function* clusterFindings(clusters: readonly ClusterStatus[]): Generator<Finding> {
  const href = "/status/clusters?sort=state";
  const accepted = clusters.filter(({ isAccepted }) => isAccepted);
  const away = accepted.filter(({ agents }) => agents.length === 0).map(({ id }) => id);
  if (away.length > 0) {
    yield { level: "warn", text: `No agent is connected for ${named(away, "cluster")}`, href };
  }
  const silent = clusters.filter(({ agents }) => agents.some(({ isSuspect }) => isSuspect));
  if (silent.length > 0) {
    const names = silent.map(({ id }) => id);
    yield { level: "warn", text: `An agent does not answer in ${named(names, "cluster")}`, href };
  }
  const waiting = clusters.length - accepted.length;
  if (waiting > 0) {
    yield { level: "warn", text: `${counted(waiting, "cluster")} waiting to be accepted`, href };
  }
}

function* serviceFindings(services: readonly ServiceStatus[]): Generator<Finding> {
  const open = services.filter(({ policy }) => policy === publicPolicy).map(({ name }) => name);
  if (open.length > 0) {
    yield {
      level: "warn",
      text: `Open to everybody: ${named(open, "service")}`,
      href: "/status/services?sort=policy",
    };
  }
}

function* limitFindings({ limitHits, atMs }: Status): Generator<Finding> {
  for (const { limit, lastMs } of limitHits) {
    if (atMs - lastMs > limitNewsMs) continue;
    const ago = duration(atMs - lastMs);
    yield { level: "warn", text: `The limit ${limit} was hit ${ago} ago`, href: "#limits" };
  }
}

/** Names where they are few, else how many. */
function named(names: readonly string[], noun: string): string {
  return names.length <= maxNames
    ? `${noun}${names.length === 1 ? "" : "s"} ${names.join(", ")}`
    : counted(names.length, noun);
}

/** Enough of a random id to tell a relay or an agent from the others. */
export function shortId(id: string): string {
  return id.slice(0, 8);
}

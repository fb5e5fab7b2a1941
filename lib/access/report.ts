/** What `access` tells its user: lines for people, or JSON objects for programs. */
import { TcpClose, type TcpEnd } from "../net/tcp_channel.ts";

/** Something that has happened. */
export type AccessEvent =
  | { readonly event: "listening"; readonly service: string; readonly address: string }
  /** A connection that was not ended in good order. */
  | { readonly event: "ended"; readonly service: string; readonly reason: string }
  /** A connection that could not be made. */
  | { readonly event: "failed"; readonly service: string; readonly reason: string };

/** The line for an event, without a line break. */
export function lineOf(event: AccessEvent, isJson: boolean): string {
  if (isJson) return JSON.stringify(event);
  switch (event.event) {
    case "listening":
      return `Listening on ${event.address} for ${event.service}`;
    case "ended":
      return `${event.service}: a connection ended early: ${event.reason}`;
    case "failed":
      return event.reason;
  }
}

/** Why a connection ended; undefined for one that the user's own program has ended, or both in order. */
export function reasonOf({ code, reason, isRemote }: TcpEnd): string | undefined {
  if (code === TcpClose.Done || (!isRemote && code === TcpClose.CallerBroke)) return undefined;
  if (reason !== "") return printable(reason);
  return reasons[code] ?? `the relay closed the connection with code ${code}`;
}

const reasons: Readonly<Record<number, string>> = {
  [TcpClose.GoingAway]: "the relay is shutting down",
  [TcpClose.Withdrawn]: "the relay has withdrawn the access",
  [TcpClose.TargetBroke]: "the connection to the target broke",
  1005: "the relay closed the connection without a reason",
  1006: "the connection to the relay broke",
};

function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, "?");
}

/** What can be ended from the status page. */
import type { Status } from "../../../domain/status.ts";
import type { Relay } from "../../relay.ts";
import type { AuditedAction } from "./audited_action.ts";
import type { StatusViewer } from "./viewer.ts";

/** One kind of thing that can be ended. */
export interface Ending {
  readonly what: string;
  /** What the audit log has. */
  readonly audit: Pick<AuditedAction, "action" | "kind">;
  readonly title: string;
  /** What follows from it. */
  readonly text: string;
  readonly label: string;
  /** Whether it takes the right to see people's sessions. */
  readonly isAboutPeople: boolean;
  /** What the one who asks is shown of it; undefined if it is not there. */
  facts(
    status: Status,
    relay: Relay,
    id: string,
  ): Promise<[name: string, value: string][] | undefined>;
  /** Ends it. @returns whether it was there */
  end(relay: Relay, id: string, viewer: StatusViewer): Promise<boolean>;
}

const agent: Ending = {
  what: "agent",
  audit: { action: "disconnect", kind: "agents" },
  title: "Disconnect this agent?",
  text:
    "Its open streams end. The agent may connect again at once: withdraw its token to keep it out.",
  label: "Disconnect",
  isAboutPeople: false,
  facts({ clusters }, _relay, id) {
    const found = clusters.flatMap(({ agents }) => agents).find((agent) => agent.id === id);
    return Promise.resolve(
      found && [
        ["Cluster", found.cluster],
        ["Instance", found.instance ?? "none"],
        ["Address", found.address],
        ["Open streams", String(found.openStreams)],
      ],
    );
  },
  end: (relay, id, { name, scope }) => relay.status.disconnectAgent(id, name, scope),
};

const stream: Ending = {
  what: "stream",
  audit: { action: "end_stream", kind: "streams" },
  title: "End this stream?",
  text: "The request or connection breaks off. Whoever opened it may open another.",
  label: "End the stream",
  isAboutPeople: false,
  facts({ streams }, _relay, id) {
    const found = streams.find((stream) => stream.id === id);
    return Promise.resolve(
      found && [
        ["Who", found.caller ?? "anybody"],
        ["Address", found.address],
        ["Where", found.service ?? found.cluster],
        ["What", `${found.method} ${found.path}`],
      ],
    );
  },
  end: (relay, id, { name, scope }) => relay.status.endStream(id, name, scope),
};

const session: Ending = {
  what: "session",
  audit: { action: "revoke", kind: "sessions" },
  title: "Revoke this session?",
  text: "The person is signed out of all services, and what they have open there ends.",
  label: "Revoke the session",
  isAboutPeople: true,
  async facts(_status, relay, id) {
    const found = (await relay.signIn?.signIn.people.list())?.sessions.find((it) => it.id === id);
    return found && [["User", found.user], ["Provider", found.provider], ["Session", found.id]];
  },
  end: async (relay, id, { name }) => await relay.signIn?.signIn.people.revoke(id, name) ?? false,
};

/** The endings by their names in forms. */
export const endings: ReadonlyMap<string, Ending> = new Map(
  [agent, stream, session].map((ending) => [ending.what, ending]),
);

/** Whoever looks at the status pages, and what they may see and do there. */
import type { Child } from "hono/jsx";
import type { StatusScope } from "../../../domain/status.ts";

/** Somebody who was let in. */
export interface StatusViewer {
  /** The viewer's name for the log of what they end. */
  readonly name: string;
  /** Undefined for everything. */
  readonly scope: StatusScope | undefined;
  /** Whether they see people's sessions. */
  readonly seesPeople: boolean;
  /**
   * What their browser alone has, and sends by itself: forms must prove that they come from one of
   * their pages. Undefined where each request bears a token that no page can have a browser send.
   */
  readonly browserSecret: string | undefined;
  /** Whether they would be let in now. */
  readonly isLetIn: () => boolean | Promise<boolean>;
  /** What stands in the pages' bar. */
  readonly bar: Child;
  /** Origins to which the bar's forms lead, besides the page's own. */
  readonly formOrigins?: readonly string[];
}

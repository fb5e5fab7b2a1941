/** The page that names a program, its machine and its hosts, and asks whether that is wanted. */
import type { Field } from "../../../http1/head.ts";
import { page } from "../../pages/page.tsx";
import type { SignIn } from "../sign_in.ts";
import { authorizePath } from "./program_paths.ts";
import { isTunnelPath, type ProgramRequest } from "./program_request.ts";
import { ProgramSeals } from "./program_seals.ts";

/** Asks; the form has the request sealed. */
export async function consentPage(
  signIn: SignIn,
  fields: readonly Field[],
  request: ProgramRequest,
): Promise<Response> {
  const session = await signIn.atLogin(fields);
  const sealed = await new ProgramSeals(signIn).consent(request);
  const title = `Sign in to ${request.program}?`;
  return page(title, <Consent {...{ request, sealed }} account={session?.username} />, {
    status: 200,
    // Its form is taken by its Origin, which browsers send only if the page lets them.
    formOrigins: [signIn.loginOrigin],
  });
}

interface ConsentProps {
  readonly request: ProgramRequest;
  readonly sealed: string;
  readonly account: string | undefined;
}

function Consent({ request, sealed, account }: ConsentProps) {
  const { program, machine, hosts } = request;
  const cancelUrl = answerUrl(request, { error: "access_denied" });
  return (
    <>
      <p>
        A program{" "}
        {request.device === undefined ? "" : "on another machine "}asks to use services in your
        name. Continue only if you have just started it.
      </p>
      <dl>
        <dt>Program</dt>
        <dd>{program}</dd>
        <dt>Machine</dt>
        <dd>{machine}</dd>
        <dt>For</dt>
        {hosts.map((host) => <dd key={host}>{placeName(host)}</dd>)}
        {account !== undefined && (
          <>
            <dt>Signed in here as</dt>
            <dd>{account}</dd>
          </>
        )}
      </dl>
      <form method="post" action={authorizePath}>
        <input type="hidden" name="request" value={sealed} />
        <button type="submit">Continue</button>
        {cancelUrl !== undefined && <a class="button quiet" href={cancelUrl}>Cancel</a>}
        {request.device !== undefined && (
          <button type="submit" class="quiet" name="refuse" value="yes">Refuse</button>
        )}
      </form>
    </>
  );
}

function placeName(host: string): string {
  return isTunnelPath(host) ? `cluster ${host.slice("/tunnel/".length)}` : host;
}

/** Where the program listens, with an answer. */
export function answerUrl(
  { redirectUri, state }: ProgramRequest,
  answer: Readonly<Record<string, string>>,
): string | undefined {
  if (redirectUri === undefined) return undefined;
  return `${redirectUri}?${new URLSearchParams({ ...answer, state: state! })}`;
}

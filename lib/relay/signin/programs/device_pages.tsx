/** The page where people type the code that a program on another machine shows (RFC 8628). */
import { AuthThrottle, untilDue } from "../../auth_throttle.ts";
import { json, jsonError, type OwnRequest, readForm } from "../own_request.ts";
import { Notice, page } from "../../pages/page.tsx";
import type { SignIn } from "../sign_in.ts";
import { type Device, deviceIntervalSeconds, deviceMs, shownCode } from "./device_codes.ts";
import { devicePath } from "./program_paths.ts";
import { ProgramFault, type ProgramRequest, readNamed } from "./program_request.ts";

/** Gives a program a code, if the operator has allowed that. */
export async function answerDeviceAuthorization(
  signIn: SignIn,
  sent: Request,
  check: (request: ProgramRequest) => ProgramFault | undefined,
): Promise<Response> {
  const { devices } = signIn;
  if (!devices) return json(400, { error: "unauthorized_client" });
  const form = await readForm(sent);
  const request = form ? readNamed(form) : new ProgramFault("is not a form");
  const fault = request instanceof ProgramFault ? request : check(request);
  if (request instanceof ProgramFault || fault) {
    const { message } = fault ?? request as ProgramFault;
    return json(400, { error: "invalid_request", error_description: `the request ${message}` });
  }
  const codes = await devices.begin(request);
  if (!codes) return jsonError(429, "too_many", "too many sign-ins on other devices are pending");
  return json(200, {
    device_code: codes.deviceCode,
    user_code: shownCode(codes.userCode),
    verification_uri: signIn.loginOrigin + devicePath,
    expires_in: deviceMs / 1_000,
    interval: deviceIntervalSeconds,
  });
}

/** Asks for the code. No link has it: whoever clicks on one need not know what it is for. */
export function askCode(signIn: SignIn): Response {
  if (!signIn.devices) return notAllowed();
  return page("Sign in on another machine", <CodeForm />, {
    status: 200,
    formOrigins: [signIn.loginOrigin],
  });
}

function CodeForm() {
  return (
    <>
      <p>Type the code that the program shows. Do so only if you have just started it yourself.</p>
      <form method="post" action={devicePath}>
        <label for="code">Code</label>
        <input
          id="code"
          name="code"
          required
          maxlength={16}
          autocomplete="off"
          autocapitalize="characters"
          spellcheck={false}
        />
        <button type="submit">Continue</button>
      </form>
    </>
  );
}

function notAllowed(): Response {
  const text = "The operator of this relay has not allowed people to sign in on other machines.";
  return page("Not allowed here", <Notice text={text} />, { status: 403 });
}

/** Wrong codes are slowed down: one may be somebody else's. */
export class TypedCodes {
  readonly #signIn: SignIn;
  readonly #throttle: AuthThrottle;

  constructor(signIn: SignIn) {
    this.#signIn = signIn;
    this.#throttle = new AuthThrottle(() => signIn.context.clock.monotonicMs());
  }

  /** The sign-in whose code was typed, or what the person is told. */
  async find({ address }: OwnRequest, sent: Request): Promise<Device | Response> {
    const { devices } = this.#signIn;
    if (!devices) return notAllowed();
    const form = await readForm(sent);
    const device = await devices.find(form?.get("code") ?? "");
    if (device) return device;
    const delay = this.#throttle.add(address);
    if (delay.kind === "never") return jsonError(429, "too_many", "too many wrong codes");
    await untilDue(delay);
    const link = { href: devicePath, label: "Try again" };
    const text = "No program waits with this code. It may be too old.";
    return page("No such code", <Notice text={text} link={link} />, { status: 400 });
  }
}

/** `access services`. */
import { readServices, servicesPath, writeServices } from "../../../access/services.ts";
import { type Command, commandOf } from "../../../commands/command.ts";
import { parseAccessServicesOptions } from "../../../config/access_options.ts";
import { refused } from "./output.ts";
import { personContext } from "./person_context.ts";
import { withPerson } from "./person_service.ts";
import { getFromService } from "./service_connection.ts";

/** The command, for `access.ts`. */
export const servicesCommand: Command = commandOf({
  word: "services",
  parse: parseAccessServicesOptions,
  async make({ service: named, person, isJson, warnings }) {
    try {
      const { signal } = new AbortController();
      const service = await withPerson(named, person && personContext(person, signal));
      const answer = await getFromService(service, servicesPath, signal);
      return { text: writeServices(readServices(answer, service.name), isJson), warnings };
    } catch (error) {
      return refused(error);
    }
  },
});

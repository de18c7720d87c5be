"""An agent that asks a language model: any server of the OpenAI API will do, such as Ollama.

CHAT_MODEL=llama3.2 palaver serve chat_agent.py:agent
"""

import os

from palaver.agents.chat import chat_agent
from palaver.providers.openai_chat import OpenAiChat
from palaver.providers.openai_options import OpenAiOptions

model = OpenAiChat(
    OpenAiOptions(
        base_url=os.environ.get("CHAT_BASE_URL", "http://127.0.0.1:11434/v1"),
        model=os.environ.get("CHAT_MODEL", "llama3.2"),
        api_key=os.environ.get("CHAT_API_KEY", ""),
        first_byte_timeout=60.0,  # a model that is loaded by the first question takes a while
    ),
    extra={"temperature": 0.3},
)

agent = chat_agent(
    model,
    name="Front desk",
    system_prompt=(
        "You answer at the front desk of a small hotel. Breakfast is from 7 to 10, the pool is on "
        "the roof. Answer in one or two short sentences, in the guest's language."
    ),
    max_history_chars=8_000,
)

"""A LangGraph agent over fortieth. Needs `pip install langgraph langchain-openai`.

python examples/langgraph_agent.py [BASE_URL]
"""

from __future__ import annotations

import sys

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from pydantic import SecretStr

BASE_URL = "http://127.0.0.1:8040/v1"


@tool
def get_weather(city: str) -> str:
    """Get the current weather in a city"""
    return f"It is sunny in {city}, 21 degrees."


def main(base_url: str = BASE_URL, question: str = "What is the weather in Lisbon?") -> str:
    """The agent's last words."""
    model = ChatOpenAI(model="fortieth-tiny", base_url=base_url, api_key=SecretStr("none"))
    agent = model.bind_tools([get_weather])

    def call_model(state: MessagesState) -> MessagesState:
        return {"messages": [agent.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", call_model)
    graph.add_node("tools", ToolNode([get_weather]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    state = graph.compile().invoke({"messages": [("user", question)]})
    return str(state["messages"][-1].content)


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
